#ifndef WORKER_STORE_LATE_JOBS_H
#define WORKER_STORE_LATE_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * Late jobs: jobs that earlier runs of an export left behind, and the addresses
 * that they hold.
 *
 * The database remembers them by itself when a run fails or is cancelled; here
 * are the cases that only the run knows. Each write is one statement, fenced by
 * the run's take (ERROR_LOST where it is no longer ours).
 */
struct late_job {
    int64_t late_job_id;
    char *job_id;
    bool given_up; /* an earlier run waited for it as long as a job may take */
};

/* Owns them; zeroes are none. */
struct late_jobs {
    struct late_job *items;
    size_t n;
};

/*
 * Loads them; *jobs is the caller's to release. unknown_ms: an import whose
 * response was lost may become a job for this long; after that it counts as ended,
 * and what was sent since is sent once more.
 */
bool late_jobs_load(struct db *db, const struct run_task *task, int64_t unknown_ms,
                    struct late_jobs *jobs, struct error *err) MUST_USE;
void late_jobs_release(struct late_jobs *jobs);

/* It has ended: what was sent in other batches since is planned again. */
bool late_job_settle(struct db *db, const struct run_task *task, int64_t late_job_id,
                     struct error *err) MUST_USE;

/* It did not end in time: later runs poll it once. */
bool late_job_leave(struct db *db, const struct run_task *task, int64_t late_job_id,
                    struct error *err) MUST_USE;

#endif
