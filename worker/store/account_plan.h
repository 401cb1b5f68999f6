#ifndef WORKER_STORE_ACCOUNT_PLAN_H
#define WORKER_STORE_ACCOUNT_PLAN_H

#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * What the Klaviyo plan of an account allows, as Klaviyo reported it last: for the status page.
 * Nothing is decided by it.
 */

/* As of now. account: as the rate limit names it; maximum -1: no limit is named. */
bool account_plan_note(struct db *db, const char *account, int64_t used, int64_t maximum,
                       struct error *err) MUST_USE;

#endif
