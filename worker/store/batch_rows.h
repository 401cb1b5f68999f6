#ifndef WORKER_STORE_BATCH_ROWS_H
#define WORKER_STORE_BATCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "worker/store/binary_array.h"

/*
 * The rows of a batch that is to be planned, as outbox_plan_begin() writes them into the
 * ledger: for each address, in the order of the body, whose row it is and what is sent.
 */
struct batch_row {
    struct bytes address;
    struct bytes profile_id;
    int64_t fingerprint; /* of the values as sent */
    uint64_t filled;     /* fields that ever had a value as sent: a set */
    bool known;          /* the ledger has a row of the address */
    bool listed;         /* it was on the list before */
};

/* As PostgreSQL arrays; row i of each is one profile. */
struct batch_rows {
    struct binary_array addresses;
    struct binary_array fingerprints;
    struct binary_array profile_ids;
    struct binary_array listed;
    struct binary_array filled;
    size_t n;
    size_t n_known;
};

/*
 * Fill with add, which never fails by itself: outbox_plan_begin() reports memory that
 * was missing. clear and release accept what init made.
 */
void batch_rows_init(struct batch_rows *rows);
void batch_rows_release(struct batch_rows *rows);
void batch_rows_clear(struct batch_rows *rows); /* keeps the memory */
void batch_rows_add(struct batch_rows *rows, const struct batch_row *row);

#endif
