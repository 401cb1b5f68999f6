#include "worker/task/task_runner.h"

#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/retry.h"
#include "common/wakeup.h"
#include "worker/export/lease.h"
#include "worker/store/tasks.h"
#include "worker/task/task_kind.h"
#include "worker/task/task_work.h"

enum {
    LOOK_EVERY_MS = 1000, /* where notifications do not come through, as behind some poolers */
    TELL_EVERY_MS = 300,  /* progress */
    KINDS_MAX = 32,
    WARN_EVERY_MS = 60 * 1000,
};

static const struct retry_policy policy = { .base_ms = 250, .cap_ms = 2000 };

struct task_runner {
    struct task_context context;
    struct task_taker taker;
    const char *kinds[KINDS_MAX];
    pthread_t thread;
    int wakeup_fd;       /* of the work and of a drain */
    int drain_fd;        /* of a drain alone; never cleared */
    int connect_stop_fd; /* that, or -1: connecting ends by its own time-out alone */
    atomic_bool draining;
    struct db *db;
    unsigned attempts; /* to reach the database, in a row */
    int64_t warned_ms;
};

static bool is_draining(const struct task_runner *runner)
{
    return atomic_load(&runner->draining);
}

/* ---- the database ---- */

static bool connect(struct task_runner *runner, struct error *err)
{
    const struct db_options how = { .url = runner->context.settings->database_url,
                                    .name = "klaviyo-worker tasks",
                                    .service = true,
                                    .stop_fd = &runner->connect_stop_fd };
    struct error ignored = ERROR_INIT;

    if (runner->db)
        return db_ready(runner->db, err);
    if (!db_open(&runner->db, &how, err))
        return false;
    /* Behind some poolers there are no notifications: then it polls. */
    (void)!db_listen(runner->db, DB_CHANNEL_TASKS, &ignored);
    return true;
}

static void warn_of_database(struct task_runner *runner, const struct error *err)
{
    if (runner->attempts > 1 && clock_ms() - runner->warned_ms < WARN_EVERY_MS)
        return;
    runner->warned_ms = clock_ms();
    log_warn("database_unavailable", LOG_STR("who", "tasks"), LOG_ERROR_OF(err));
}

/* Until the time is over, a notification comes, or it is to end. */
static void rest(struct task_runner *runner, int64_t ms)
{
    struct pollfd fds[] = { { .fd = runner->wakeup_fd, .events = POLLIN },
                            { .fd = runner->db ? db_socket(runner->db) : -1, .events = POLLIN } };

    if (is_draining(runner))
        return;
    (void)poll(fds, 2, (int)ms);
    (void)wakeup_clear(runner->wakeup_fd);
    if (fds[1].revents)
        (void)db_notified(runner->db);
}

static bool reach_database(struct task_runner *runner)
{
    struct error err = ERROR_INIT;

    if (connect(runner, &err)) {
        runner->attempts = 0;
        return true;
    }
    runner->attempts++;
    warn_of_database(runner, &err);
    rest(runner, retry_wait_ms(policy, runner->attempts, randombytes_random(), 100));
    return false;
}

/* ---- one task ---- */

/* A task on its way. */
struct running_task {
    struct task_runner *runner;
    const struct task *task;
    struct task_work *work;
    struct lease lease;
    int64_t told_ms; /* when progress was reported last */
    bool lost;
};

static void log_end(const struct running_task *g, const char *how, const struct error *err)
{
    log_info("task_ended", LOG_INT("task", g->task->task_id), LOG_STR("kind", g->task->kind),
             LOG_STR("result", how), LOG_ERROR_OF(err));
}

static void renew(struct running_task *g)
{
    struct error err = ERROR_INIT;
    char *progress = task_work_take_progress(g->work);
    int64_t sent_ms = clock_ms();
    bool dropped = false;

    if (db_ready(g->runner->db, &err) &&
        tasks_renew(g->runner->db, g->task, g->lease.length_ms, progress, &dropped, &err)) {
        lease_renewed(&g->lease, sent_ms);
        g->told_ms = sent_ms;
    }
    free(progress);
    if (err.kind == ERROR_LOST)
        g->lost = true;
    if (dropped || g->lost)
        task_work_stop(g->work);
}

/* Renews in time, and sooner if there is progress to report. */
static void tend(struct running_task *g)
{
    int64_t now = clock_ms();

    if (g->lost)
        return;
    if (lease_is_over(&g->lease, now)) {
        g->lost = true;
        task_work_stop(g->work);
    } else if (lease_is_due(&g->lease, now) ||
               (now - g->told_ms >= TELL_EVERY_MS && task_work_has_progress(g->work))) {
        renew(g);
    }
}

static void wait_for_work(struct running_task *g)
{
    while (!task_work_has_ended(g->work)) {
        struct pollfd fd = { .fd = g->runner->wakeup_fd, .events = POLLIN };

        (void)poll(&fd, 1, TELL_EVERY_MS);
        (void)wakeup_clear(g->runner->wakeup_fd);
        if (is_draining(g->runner))
            task_work_stop(g->work);
        tend(g);
    }
}

/* Records how it ended; waits for an unreachable database as long as the lease lasts. */
static bool write_end(struct running_task *g, const struct task_ending *ending, struct error *err)
{
    for (;;) {
        struct error why = ERROR_INIT;

        if (db_ready(g->runner->db, &why) && tasks_end(g->runner->db, g->task, ending, &why))
            return true;
        *err = why;
        if (why.kind != ERROR_RETRY || lease_is_over(&g->lease, clock_ms()) ||
            is_draining(g->runner))
            return false;
        (void)poll(NULL, 0, TELL_EVERY_MS);
    }
}

static void give_back(struct running_task *g)
{
    struct error err = ERROR_INIT;

    if (!db_ready(g->runner->db, &err) || !tasks_give_back(g->runner->db, g->task, &err))
        log_warn("task_not_written", LOG_INT("task", g->task->task_id),
                 LOG_STR("kind", g->task->kind), LOG_ERROR_OF(&err));
    log_end(g, "given back", &err);
}

static void conclude(struct running_task *g)
{
    struct error why = ERROR_INIT, err = ERROR_INIT;
    struct task_ending ending = { NULL, NULL, false };
    const char *how = "done";

    if (!task_work_answer(g->work, &ending.answer, &why)) {
        /* A stopped task fails with an error of what it was doing, which is not its answer. */
        if (g->lost) { /* its next worker answers */
            log_end(g, "lost", &why);
            return;
        }
        if (is_draining(g->runner)) {
            give_back(g);
            return;
        }
        ending = (struct task_ending){ NULL, why.text, why.kind == ERROR_RETRY };
        how = "failed";
    }
    FAILPOINT("task_end.before");
    if (!write_end(g, &ending, &err))
        log_warn("task_not_written", LOG_INT("task", g->task->task_id),
                 LOG_STR("kind", g->task->kind), LOG_ERROR_OF(&err));
    else
        log_end(g, how, &why);
}

static void execute(struct task_runner *runner, const struct task *task, int64_t taken_ms)
{
    struct running_task g = { .runner = runner, .task = task, .told_ms = taken_ms };
    struct error err = ERROR_INIT;

    log_info("task_taken", LOG_INT("task", task->task_id), LOG_STR("kind", task->kind),
             LOG_INT("token", task->token));
    FAILPOINT("task_take.after");
    lease_init(&g.lease, runner->taker.lease_ms, taken_ms);
    g.work = task_work_start(&runner->context, task, runner->wakeup_fd, &err);
    if (!g.work) {
        log_warn("task_not_written", LOG_INT("task", task->task_id), LOG_STR("kind", task->kind),
                 LOG_ERROR_OF(&err));
        return;
    }
    wait_for_work(&g);
    /* Worth connecting once more, also in a drain: else the task waits for its lease to end. */
    runner->connect_stop_fd = -1;
    conclude(&g);
    runner->connect_stop_fd = runner->drain_fd;
    task_work_free(g.work);
}

/* ---- the thread ---- */

/* True: there may be another one. */
static bool take_one(struct task_runner *runner)
{
    CLEANUP(task_freep) struct task *task = NULL;
    struct error err = ERROR_INIT;
    int64_t taken_ms = clock_ms();

    if (!tasks_take(runner->db, &runner->taker, &task, &err)) {
        log_warn("task_take_failed", LOG_ERROR_OF(&err));
        return false;
    }
    if (task)
        execute(runner, task, taken_ms);
    return task != NULL;
}

static void leave(struct task_runner *runner)
{
    struct error err = ERROR_INIT;

    if (runner->db && db_is_up(runner->db))
        (void)!tasks_leave(runner->db, runner->taker.worker, &err);
    db_free(db_take(&runner->db));
}

static void *runner_main(void *argument)
{
    struct task_runner *runner = argument;

    while (!is_draining(runner))
        if (reach_database(runner) && !take_one(runner))
            rest(runner, LOOK_EVERY_MS);
    leave(runner);
    return NULL;
}

static void name_kinds(struct task_runner *runner)
{
    size_t n = 0;

    for (const struct task_kind *kind = task_kinds; kind->name && n < KINDS_MAX - 1; kind++)
        runner->kinds[n++] = kind->name;
    runner->taker.kinds = runner->kinds;
}

static bool start(struct task_runner *runner, struct error *err)
{
    runner->wakeup_fd = wakeup_open(err);
    runner->drain_fd = runner->wakeup_fd >= 0 ? wakeup_open(err) : -1;
    runner->connect_stop_fd = runner->drain_fd;
    if (runner->drain_fd < 0)
        return false;
    return pthread_create(&runner->thread, NULL, runner_main, runner) == 0 ||
           error_set(err, ERROR_FATAL, "no thread for tasks");
}

static void release(struct task_runner *runner)
{
    if (runner->wakeup_fd >= 0)
        (void)close(runner->wakeup_fd);
    if (runner->drain_fd >= 0)
        (void)close(runner->drain_fd);
    free(runner);
}

struct task_runner *task_runner_start(const struct task_context *context, int64_t key_pair_id,
                                      struct error *err)
{
    struct task_runner *runner = calloc(1, sizeof *runner);

    if (!runner) {
        (void)error_no_memory(err);
        return NULL;
    }
    runner->context = *context;
    runner->taker = (struct task_taker){ .worker = context->worker,
                                         .lease_ms = context->settings->lease_seconds * 1000,
                                         .key_pair_id = key_pair_id };
    name_kinds(runner);
    if (start(runner, err))
        return runner;
    release(runner);
    return NULL;
}

void task_runner_drain(struct task_runner *runner)
{
    atomic_store(&runner->draining, true);
    wakeup_signal(runner->drain_fd);
    wakeup_signal(runner->wakeup_fd);
}

void task_runner_free(struct task_runner *runner)
{
    if (!runner)
        return;
    task_runner_drain(runner);
    (void)pthread_join(runner->thread, NULL);
    release(runner);
}
