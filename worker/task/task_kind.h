#ifndef WORKER_TASK_TASK_KIND_H
#define WORKER_TASK_TASK_KIND_H

#include <jansson.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/task/task_context.h"

/*
 * A kind of task: a function from arguments to an answer, both JSON objects.
 *
 * Arguments come from people, who may write anything there; only `name` (of the
 * connection or export, which its user may use) and `whole` (that user is an
 * administrator) are the database's. The answer is for that user alone: it may
 * hold values of members. An error's text never does; its kind says whether the
 * same may succeed later (ERROR_RETRY), ERROR_LOST that the task was stopped.
 *
 * A task may be done twice, by two workers one after the other: what it changes
 * must allow that.
 */
typedef bool task_fn(const struct task_context *context, const json_t *arguments, json_t **answer,
                     struct error *err);

struct task_kind {
    const char *name; /* the words of the command that asks: "connection verify" */
    task_fn *run;
    bool begins_run; /* a run of the export, which goes on when the task is dropped */
};

/* All of them; the last has no name. */
extern const struct task_kind task_kinds[];

/* NULL: there is no such kind. */
const struct task_kind *task_kind_find(const char *name);

/* The functions, one file each. */
task_fn connection_lists_task;
task_fn connection_verify_task;
task_fn export_preview_task;
task_fn export_try_task;
task_fn export_verify_task;

#endif
