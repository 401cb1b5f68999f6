#ifndef WORKER_EXPORT_TRIAL_PLAN_H
#define WORKER_EXPORT_TRIAL_PLAN_H

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/export/member_scan.h"

/*
 * The plan of a trial, in two steps: its rows are read before there is a run, so
 * that no run's lease has to last for as long as the database sorts; then they
 * are written for the run that was begun.
 */
struct trial_plan {
    struct secret_source database_url;
    struct trial trial;
    struct member_scan scan;
};

/*
 * Reads the rows. task: of run_task_for_preview(); observer: asked now and then.
 * Both are lent until release, which is to be called whatever the result.
 * ERROR_INPUT: the site's view cannot be read. ERROR_LOST: the observer said stop,
 * or its stop_fd.
 */
bool trial_plan_read(struct trial_plan *plan, const struct run_task *task,
                     const struct scan_observer *observer, struct error *err) MUST_USE;

/* The run owns its rows after this, all of them or none; lent until release. */
bool trial_plan_write(struct trial_plan *plan, const struct run_task *run, struct error *err)
    MUST_USE;

/* With trial_init() done: rows, profile; the URL is borrowed. */
void trial_plan_init(struct trial_plan *plan, const struct secret_source *database_url,
                     int64_t rows, const char *profile);
void trial_plan_release(struct trial_plan *plan);

#endif
