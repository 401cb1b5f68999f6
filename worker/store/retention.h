#ifndef WORKER_STORE_RETENTION_H
#define WORKER_STORE_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Housekeeping in the database. Bounded work per call, so that it can be
 * interleaved with a stop; any number of workers may do it at once.
 */

/*
 * Deletes requests and runs that ended more than `days` days ago (their
 * rejections go with them), takes addresses and Klaviyo's words out of the
 * rejections of runs that ended more than 14 days ago, and deletes tasks that
 * people asked for more than a day ago. *more: there is more to do.
 */
bool retention_apply(struct db *db, int64_t days, bool *more, struct error *err) MUST_USE;

/* Ends open requests whose runs have all ended, which a run's end had missed; how many. */
bool retention_settle_missed(struct db *db, int64_t *settled, struct error *err) MUST_USE;

#endif
