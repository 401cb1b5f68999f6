#ifndef WORKER_STORE_BUDGET_H
#define WORKER_STORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * The budget of requests: how many may be sent to one endpoint of one account,
 * counted in the database for all workers together.
 *
 * One place a request, taken before it is sent and returned when it was
 * answered or has timed out. Exact whatever the phase of the receiver's
 * windows; places of workers that died age by themselves.
 */
struct budget_claim {
    const char *account;
    const char *endpoint;
    int32_t burst;      /* requests that are allowed in any second */
    int32_t steady;     /* and in any minute */
    int64_t timeout_ms; /* after which the request has certainly ended */
};

struct budget_place {
    int64_t place_id; /* 0: none is free */
    int64_t wait_ms;  /* then: until one may be */
};

bool budget_take(struct db *db, const struct budget_claim *claim, struct budget_place *place,
                 struct error *err) MUST_USE;

bool budget_return(struct db *db, int64_t place_id, struct error *err) MUST_USE;

/* The receiver said when to come back: all workers heed it. */
bool budget_block(struct db *db, const char *account, const char *endpoint, int64_t wait_ms,
                  struct error *err) MUST_USE;

#endif
