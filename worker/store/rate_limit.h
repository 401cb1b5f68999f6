#ifndef WORKER_STORE_RATE_LIMIT_H
#define WORKER_STORE_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * The rate limit: how many requests may be sent to one endpoint of one account,
 * counted in the database for all workers together.
 *
 * One permit per request, acquired before it is sent and released when it was
 * answered or has timed out. Exact whatever the phase of the receiver's
 * windows; permits of workers that died age by themselves.
 */
struct rate_limit_claim {
    const char *account;
    const char *endpoint;
    int32_t burst;      /* requests that are allowed in any second */
    int32_t steady;     /* and in any minute */
    int64_t timeout_ms; /* after which the request has certainly ended */
};

struct rate_limit_permit {
    int64_t permit_id; /* 0: none is free */
    int64_t wait_ms;   /* then: until one may be */
};

/*
 * Asks once and never waits: where none is free, *permit says how long to wait.
 * Errors as in db.h; after one that may have been committed, the permit ages by
 * itself.
 */
bool rate_limit_acquire(struct db *db, const struct rate_limit_claim *claim,
                        struct rate_limit_permit *permit, struct error *err) MUST_USE;

/*
 * At the response: the permit counts for one more window from now. A permit
 * that is gone is no error.
 */
bool rate_limit_release(struct db *db, int64_t permit_id, struct error *err) MUST_USE;

/* It is known now for which account the request was: its permit counts there. */
bool rate_limit_move(struct db *db, int64_t permit_id, const char *account, struct error *err)
    MUST_USE;

/*
 * A 429 came though permits were counted: others use the account, too. For a while the
 * endpoint is asked less. *pace: how much in percent from now on; 0: it was lowered a
 * moment ago.
 */
bool rate_limit_slow(struct db *db, const char *account, const char *endpoint, int64_t *pace,
                     struct error *err) MUST_USE;

/* Which part of the account's limits this product may use, in percent. */
bool rate_limit_share(struct db *db, const char *account, int64_t *percent, struct error *err)
    MUST_USE;

/* The receiver said when to come back: all workers wait until then. */
bool rate_limit_block(struct db *db, const char *account, const char *endpoint, int64_t wait_ms,
                      struct error *err) MUST_USE;

#endif
