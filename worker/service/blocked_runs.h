#ifndef WORKER_SERVICE_BLOCKED_RUNS_H
#define WORKER_SERVICE_BLOCKED_RUNS_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/export/control.h"
#include "worker/metrics/run_metrics.h"
#include "worker/store/db.h"

/*
 * Logs which session holds up runs with a lock: a take waits two seconds at most
 * for a locked table and skips locked rows, so without a log line nobody would know
 * why a run stays queued. One for each slot, used by its thread; starts as zeros
 * except for control and run_metrics.
 */
struct blocked_runs {
    struct run_control *control;
    struct run_metrics *run_metrics;
    int64_t check_ms;  /* when to ask again */
    int64_t logged_ms; /* when the last line was written; 0: none yet */
    bool seen;         /* when asked last, which may have met a moment's lock */
};

/* A take gave up before a lock. */
void blocked_runs_take_failed(struct blocked_runs *blocked, struct db *db);

/* A take found nothing: because of locks? Asks the database every two seconds. */
void blocked_runs_poll(struct blocked_runs *blocked, struct db *db, int64_t key_pair_id);

#endif
