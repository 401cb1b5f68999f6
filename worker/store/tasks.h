#ifndef WORKER_STORE_TASKS_H
#define WORKER_STORE_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Tasks: what people ask for and workers do. A person adds one, looks at it and
 * drops it; a worker takes it under a lease and a token, renews that, and ends
 * it. Arguments, progress and answers are JSON texts. What a user may not see is
 * not there.
 */

/* -- for the command that asks -- */

/* What this user could do about a task of a kind. */
struct task_standing {
    bool may_ask; /* adds tasks: an administrator or a contributor */
    bool may_do;  /* has the workers' rights */
    bool served;  /* a worker that does such tasks was there within the last seconds */
};
bool tasks_standing(struct db *db, const char *kind, struct task_standing *standing,
                    struct error *err) MUST_USE;

/* *task_id: 0 where there is no connection or export of that name that the user may use. */
bool tasks_add(struct db *db, const char *kind, const char *name, const char *arguments,
               int64_t *task_id, struct error *err) MUST_USE;

/* The task as klaviyo.look_at_task() shows it; NULL: it is gone. The caller's. */
bool tasks_look(struct db *db, int64_t task_id, char **json, struct error *err) MUST_USE;

/* Its answer was read, or is not waited for any more. */
bool tasks_drop(struct db *db, int64_t task_id, struct error *err) MUST_USE;

/* -- for the worker that does it -- */

struct task_taker {
    const char *worker;
    int64_t lease_ms;
    int64_t key_pair_id;      /* whose keys it can open */
    const char *const *kinds; /* that it knows; NULL ends the list */
};

struct task {
    int64_t task_id;
    int64_t token;
    char *kind;
    char *arguments;
};

/* Frees the task with its strings; NULL is accepted. */
void task_free(struct task *task);
DEFINE_OWNER(task)

/* *task: NULL where there is none. Says at the same time that this worker is there. */
bool tasks_take(struct db *db, const struct task_taker *taker, struct task **task,
                struct error *err) MUST_USE;

/* progress: NULL: no news. ERROR_LOST: the task is not this worker's any more. */
bool tasks_renew(struct db *db, const struct task *task, int64_t lease_ms, const char *progress,
                 bool *dropped, struct error *err) MUST_USE;

struct task_ending {
    const char *answer; /* NULL: it failed */
    const char *error;
    bool again; /* the same may succeed later */
};

/* Records how it ended. ERROR_LOST: the task is not this worker's any more. */
bool tasks_end(struct db *db, const struct task *task, const struct task_ending *ending,
               struct error *err) MUST_USE;

/* The worker stops: another one does it. */
bool tasks_give_back(struct db *db, const struct task *task, struct error *err) MUST_USE;

/* The worker takes no more tasks. */
bool tasks_leave(struct db *db, const char *worker, struct error *err) MUST_USE;

#endif
