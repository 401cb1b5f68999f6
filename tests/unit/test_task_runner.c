#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/wakeup.h"
#include "worker/store/tasks.h"
#include "worker/task/task_runner.h"
#include "worker/task/task_work.h"

enum { LEASE_SECONDS = 3, ENOUGH_MS = 10000 };

/* A database whose connection breaks, and one task. */
static struct {
    bool is_away;       /* it does not let in, until whoever waits for it stops */
    bool tells;         /* the work has progress to tell all the time */
    bool ends_by_stop;  /* the work does not end before */
    atomic_bool up;     /* the connection */
    const int *stop_fd; /* of connecting */
    int wakeup_fd;      /* of the work */
    atomic_bool opening, taken, stopped;
    atomic_int renewed, ended, given_back; /* that were written */
} world;

/* ---- fakes ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

static bool is_stopped(int ms)
{
    struct pollfd fd = { .fd = *world.stop_fd, .events = POLLIN };

    return poll(&fd, 1, ms) > 0;
}

FAKE(bool, db_open, (struct db * *out, const struct db_options *how, struct error *err))
{
    world.stop_fd = how->stop_fd;
    atomic_store(&world.opening, true);
    if (world.is_away) {
        assert_true(is_stopped(ENOUGH_MS));
        return error_set(err, ERROR_RETRY, "broken off");
    }
    atomic_store(&world.up, true);
    *out = (struct db *)&world;
    return true;
}

FAKE(bool, db_listen, (struct db * db UNUSED, const char *channel UNUSED, struct error *err UNUSED))
{
    return true;
}

FAKE(bool, db_ready, (struct db * db UNUSED, struct error *err))
{
    if (!atomic_load(&world.up) && world.tells)
        wakeup_signal(world.wakeup_fd);
    if (!atomic_load(&world.up) && is_stopped(0))
        return error_set(err, ERROR_RETRY, "broken off");
    atomic_store(&world.up, true);
    return true;
}

FAKE(bool, db_is_up, (const struct db *db UNUSED))
{
    return atomic_load(&world.up);
}

FAKE(int, db_socket, (const struct db *db UNUSED))
{
    return -1;
}

FAKE(void, db_free, (struct db * db UNUSED))
{
}

/* Over the connection, if it is there. */
static bool is_written(atomic_int *what, struct error *err)
{
    if (!atomic_load(&world.up))
        return error_set(err, ERROR_RETRY, "the connection is gone");
    (void)atomic_fetch_add(what, 1);
    return true;
}

FAKE(bool, tasks_take,
     (struct db * db UNUSED, const struct task_taker *taker UNUSED, struct task **task,
      struct error *err UNUSED))
{
    *task = atomic_load(&world.taken) ? NULL : calloc(1, sizeof **task);
    atomic_store(&world.taken, true);
    return true;
}

FAKE(bool, tasks_renew,
     (struct db * db UNUSED, const struct task *task UNUSED, int64_t lease_ms UNUSED,
      const char *progress UNUSED, bool *dropped UNUSED, struct error *err))
{
    return is_written(&world.renewed, err);
}

FAKE(bool, tasks_end,
     (struct db * db UNUSED, const struct task *task UNUSED,
      const struct task_ending *ending UNUSED, struct error *err))
{
    return is_written(&world.ended, err);
}

FAKE(bool, tasks_give_back,
     (struct db * db UNUSED, const struct task *task UNUSED, struct error *err))
{
    return is_written(&world.given_back, err);
}

FAKE(bool, tasks_leave,
     (struct db * db UNUSED, const char *worker UNUSED, struct error *err UNUSED))
{
    return true;
}

FAKE(struct task_work *, task_work_start,
     (const struct task_context *context UNUSED, const struct task *task UNUSED, int wakeup_fd,
      struct error *err UNUSED))
{
    world.wakeup_fd = wakeup_fd;
    atomic_store(&world.up, false);
    return (struct task_work *)&world;
}

/* Work that has progress to tell ends once it was told. */
FAKE(bool, task_work_has_ended, (const struct task_work *work UNUSED))
{
    if (world.ends_by_stop)
        return atomic_load(&world.stopped);
    return !world.tells || atomic_load(&world.renewed) > 0;
}

FAKE(bool, task_work_has_progress, (struct task_work * work UNUSED))
{
    return world.tells;
}

FAKE(char *, task_work_take_progress, (struct task_work * work UNUSED))
{
    return NULL;
}

FAKE(void, task_work_stop, (struct task_work * work UNUSED))
{
    atomic_store(&world.stopped, true);
}

/* It has ended: its signal comes when nobody waits for it any more, and the connection is gone. */
FAKE(bool, task_work_answer,
     (const struct task_work *work UNUSED, const char **answer, struct error *err))
{
    wakeup_signal(world.wakeup_fd);
    atomic_store(&world.up, false);
    *answer = "{}";
    return !world.ends_by_stop || error_set(err, ERROR_LOST, "the task was stopped");
}

FAKE(void, task_work_free, (struct task_work * work UNUSED))
{
}

/* ---- the cases ---- */

static const struct settings settings = { .lease_seconds = LEASE_SECONDS };

static struct task_runner *begin(void)
{
    const struct task_context context = { .settings = &settings, .worker = "w" };
    struct error err = ERROR_INIT;
    struct task_runner *runner = task_runner_start(&context, 1, &err);

    assert_non_null(runner);
    return runner;
}

static void wait_for(atomic_int *what)
{
    for (int64_t until_ms = clock_ms() + ENOUGH_MS; atomic_load(what) == 0;) {
        assert_true(clock_ms() < until_ms);
        (void)usleep(1000);
    }
}

static void wait_until_true(atomic_bool *what)
{
    for (int64_t until_ms = clock_ms() + ENOUGH_MS; !atomic_load(what);) {
        assert_true(clock_ms() < until_ms);
        (void)usleep(1000);
    }
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    return 0;
}

static void an_answer_is_written_over_a_new_connection(void **state)
{
    struct task_runner *runner = begin();

    (void)state;
    wait_for(&world.ended);
    task_runner_free(runner);
}

static void news_of_the_work_break_off_no_connecting(void **state)
{
    (void)state;
    world.tells = true;
    struct task_runner *runner = begin();

    wait_for(&world.renewed);
    wait_for(&world.ended);
    task_runner_free(runner);
}

static void a_task_is_given_back_over_a_new_connection(void **state)
{
    (void)state;
    world.ends_by_stop = true;
    struct task_runner *runner = begin();

    wait_until_true(&world.taken);
    task_runner_free(runner);
    assert_int_equal(world.given_back, 1);
    assert_int_equal(world.ended, 0);
}

static void a_drain_breaks_off_connecting(void **state)
{
    (void)state;
    world.is_away = true;
    struct task_runner *runner = begin();

    wait_until_true(&world.opening);
    task_runner_free(runner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_answer_is_written_over_a_new_connection, set_up),
        cmocka_unit_test_setup(news_of_the_work_break_off_no_connecting, set_up),
        cmocka_unit_test_setup(a_task_is_given_back_over_a_new_connection, set_up),
        cmocka_unit_test_setup(a_drain_breaks_off_connecting, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
