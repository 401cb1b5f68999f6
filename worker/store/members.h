#ifndef WORKER_STORE_MEMBERS_H
#define WORKER_STORE_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/copy.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * Members: those of an export's segments and what its ledger remembers, joined
 * by address and read as one stream, sorted by address, then profile id (both
 * by bytes). Rows without an address stand first. Memory is constant.
 *
 * A member of two segments comes twice, side by side.
 */
struct member {
    bool is_member; /* else only the ledger knows the address */
    struct copy_field profile_id;
    struct copy_field address; /* as klaviyo.address_of() has it; null: there is none */
    bool not_a_string;         /* the field is there and no JSON string */
    bool cut_not_ascii;        /* the address was cut, and something in it was not ASCII */
    bool known;                /* the ledger has a row; the rest is from it */
    bool confirmed;            /* its last batch was */
    bool listed;               /* an earlier batch was confirmed */
    bool rejected;             /* Klaviyo refused it last time */
    bool settled;              /* this run has done with it before */
    int64_t fingerprint;
    const struct copy_field *fields; /* JSON texts of the export's fields, in their order */
};

struct members;

/*
 * Begins a transaction with one snapshot, which is the connection's only work
 * until members_free(); the connection is of use afterwards only if the stream
 * was read to its end. The task outlives it. Here and below ERROR_INPUT: the
 * site's view cannot be read; the text has the SQLSTATE and no value of a row.
 */
bool members_open(struct members **out, struct db *db, const struct run_task *task,
                  struct error *err) MUST_USE;
void members_free(struct members *members);
DEFINE_OWNER(members)

enum members_next { MEMBERS_ROW, MEMBERS_END, MEMBERS_ERROR };

/* Lends the member until the next call. */
enum members_next members_next(struct members *members, struct member *member, struct error *err)
    MUST_USE;

/*
 * How many there are, counted twice where in two segments; before the first
 * members_next().
 */
bool members_count(struct members *members, int64_t *n, struct error *err) MUST_USE;

#endif
