#ifndef WORKER_EXPORT_RUN_H
#define WORKER_EXPORT_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/seal.h"
#include "worker/export/control.h"
#include "worker/metrics/run_metrics.h"
#include "worker/settings/settings.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * A run, from its take to its end: opens the key, starts the plan, delivers,
 * and writes what became of it.
 */
struct run_options {
    const struct settings *settings;
    const struct seal_pair *pair;
    const char *user_agent;
    struct run_control *control;
    struct run_metrics *run_metrics;
    int wakeup_fd;      /* of the slot (wakeup.h): signalled by the plan and by whoever drains */
    const int *stop_fd; /* NULL, or readable: this run is to be given back. Never cleared */
};

/*
 * True: the run has ended, by this or another process, or was handed back: given back, or parked.
 * False: ERROR_LOST, it belongs to another take; other kinds: what became of it could not be
 * written, and it is to be given back (runs_give_back) as soon as the database is reachable. The
 * log says why.
 */
bool run_execute(const struct run_options *options, struct db *db, const struct run_task *task,
                 int64_t taken_ms, struct error *err) MUST_USE;

/*
 * After an end whose answer was lost, where the run cannot be given back any more: tells of the
 * end in the log and in the metrics if it was written. A failure counts, too.
 */
void run_note_ended(struct run_metrics *run_metrics, struct db *db, const struct run_task *task);

/* Tells of a run that a take has ended: in the log, and in the metrics. Any thread. */
void run_note_closed(struct run_metrics *run_metrics, const struct run_closed *closed);

#endif
