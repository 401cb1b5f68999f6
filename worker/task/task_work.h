#ifndef WORKER_TASK_TASK_WORK_H
#define WORKER_TASK_TASK_WORK_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/tasks.h"
#include "worker/task/task_context.h"

/*
 * Work on one task: its function on a thread of its own, with a database
 * connection of its own, while its starter renews the task's lease.
 */
struct task_work;

/*
 * The context's task, db, stop_fd and note are the work's own; the rest and the task
 * are lent until task_work_free(). wakeup_fd is signalled when there is progress
 * to report and at the end. NULL: out of memory or threads.
 */
struct task_work *task_work_start(const struct task_context *context, const struct task *task,
                                  int wakeup_fd, struct error *err) MUST_USE;

/* Its function has returned: task_work_answer() says how. */
bool task_work_has_ended(const struct task_work *work);

/* There is progress that was not taken yet. */
bool task_work_has_progress(struct task_work *work);

/* The newest progress that was not taken yet, JSON, the caller's; NULL: none. */
char *task_work_take_progress(struct task_work *work);

/* Asks it to end soon. Any number of times. */
void task_work_stop(struct task_work *work);

/* How it ended; lent. False: it failed, err says why. Once it has ended. */
bool task_work_answer(const struct task_work *work, const char **answer, struct error *err)
    MUST_USE;

/* Stops it and waits for its thread. */
void task_work_free(struct task_work *work);

#endif
