#ifndef WORKER_STORE_FENCE_H
#define WORKER_STORE_FENCE_H

#include "worker/store/runs.h"
#include "worker/store/statement.h"

/*
 * The fence: a write of a run happens only while the run is still owned by the
 * take that the writer got it with.
 *
 * Parameters 1 and 2 of every fenced statement are the run and the take's id
 * (args_fence first). Not the epoch: it counts up, and counts up again in a
 * database that was set back to a copy. FOR KEY SHARE conflicts with a change of
 * epoch, which a take is, and with nothing else, so that heartbeat and counts are
 * not blocked by it. A fenced statement returns a row where the fence held; no
 * row is ERROR_LOST.
 */
#define FENCE                                                                 \
    "fence as materialized (select run_id, export_id, epoch from klaviyo.run" \
    " where run_id = $1 and take_id = $2::uuid and state = 'running' for key share)"

/* Adds the ids of run and take as the next two parameters, which must be the first. */
void args_fence(struct args *args, const struct run_task *task);

/* rows may be NULL. */
bool db_fenced(struct db *db, const char *sql, const struct args *args, PGresult **out,
               struct error *err) MUST_USE;

/* The same for what db_send() sent. */
bool db_fenced_await(struct db *db, struct error *err) MUST_USE;

/* The error of a fence that did not hold, ERROR_LOST. False, always. */
bool error_lost(struct error *err);

#endif
