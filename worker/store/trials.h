#ifndef WORKER_STORE_TRIALS_H
#define WORKER_STORE_TRIALS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"
#include "worker/store/run_task.h"
#include "worker/store/tasks.h"

/*
 * Trials: runs of a few rows, planned by the process that begins them. Afterwards they
 * are runs like any other, and any worker brings them to their end.
 */
struct trial_order {
    const char *export_name;
    const char *worker;
    int64_t lease_ms;
    const struct task *task; /* that wants it; NULL: done on the spot */
    const char *kept;        /* JSON: what the task's next worker needs, if there is one */
    const char *basis;       /* of trials_basis(), from before its rows were read */
};

/*
 * What a trial's rows will follow from, besides the members: it is another after a change of
 * the export, a run of it, or when somebody was forgotten. *basis: the caller's. ERROR_INPUT:
 * there is no such export.
 */
bool trials_basis(struct db *db, const char *export_name, char **basis, struct error *err) MUST_USE;

/*
 * *run: the caller's, owned and not planned; NULL where the basis is another by now: what was
 * read is to be read again. ERROR_INPUT: there is no such export, or its connection needs
 * attention; ERROR_RETRY: a run of it is going on, or people are being taken off its list;
 * ERROR_LOST: the task is another worker's.
 */
bool trials_begin(struct db *db, const struct trial_order *order, struct run_task **run,
                  struct error *err) MUST_USE;

/* *run: NULL where somebody works for it, it waits, or it has ended. */
bool trials_retake(struct db *db, int64_t run_id, const struct trial_order *order,
                   struct run_task **run, struct error *err) MUST_USE;

/* What a task keeps; NULL: nothing. The caller's. */
bool trials_kept(struct db *db, const struct task *task, char **json, struct error *err) MUST_USE;

#endif
