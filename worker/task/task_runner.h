#ifndef WORKER_TASK_TASK_RUNNER_H
#define WORKER_TASK_TASK_RUNNER_H

#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/task/task_context.h"

/*
 * The runner: a thread that takes tasks, one at a time, and brings each to its
 * end. It owns one connection, on which it takes, renews and ends; the task is
 * done on another thread (task_work.h).
 *
 *     none ──notification, or a second──► take ──► work ──► end, or give back
 *
 * A task whose worker was killed is taken by another one when its lease is over.
 */
struct task_runner;

/* context: settings, pair, worker, control and run_metrics; lent. NULL: no memory or thread. */
struct task_runner *task_runner_start(const struct task_context *context, int64_t key_pair_id,
                                      struct error *err) MUST_USE;

/* Takes no more, and gives back what it has. Any thread; does not wait. */
void task_runner_drain(struct task_runner *runner);

/* The same, and waits for its thread. */
void task_runner_free(struct task_runner *runner);

#endif
