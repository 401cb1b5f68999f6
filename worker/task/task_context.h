#ifndef WORKER_TASK_TASK_CONTEXT_H
#define WORKER_TASK_TASK_CONTEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/seal.h"
#include "worker/export/control.h"
#include "worker/metrics/run_metrics.h"
#include "worker/settings/settings.h"
#include "worker/store/db.h"
#include "worker/store/tasks.h"

/*
 * What a task works with: on the thread that does it, in a worker or, with
 * --direct, in the command that wants it done.
 */
struct task_context {
    const struct settings *settings;
    const struct seal_pair *pair; /* NULL: no key file is at hand, stored keys cannot be opened */
    const char *no_pair;          /* why there is none, in words; NULL: it is not set */
    const char *worker;           /* this process in listings */
    struct run_control *control;  /* of the process, for tasks that are runs */
    struct run_metrics *run_metrics; /* the same */
    const struct task *task;         /* NULL: done on the spot, none was asked for */
    struct db *db;                   /* the task's own */
    const int *stop_fd;              /* readable: end soon (ERROR_LOST). NULL: nobody asks for it */
    void *opaque;
    void (*note)(void *opaque,
                 const json_t *progress); /* shows progress to the user; lent. May be NULL */
};

/*
 * Reports progress, as one line shows it: "asking for lists", 3 of 10 (of 0: not known
 * how many), and asks whether the task is still wanted. False: ERROR_LOST, end soon.
 */
bool task_progress(const struct task_context *context, const char *doing, int64_t n, int64_t of,
                   struct error *err) MUST_USE;

/* The same question alone. */
bool task_is_stopped(const struct task_context *context);

#endif
