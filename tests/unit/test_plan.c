#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/unit/diary.h"
#include "worker/export/member_scan.h"
#include "worker/export/plan.h"

enum { ROWS = 7, ENOUGH_MS = 20000, LEASE_MS = 15000 };

static struct {
    atomic_int refusals; /* connections that are not to be had */
    enum error_kind read_fails_as;
    bool reads_until_cancelled;
    atomic_bool reading;
    atomic_int cancelled; /* connections */
    atomic_int wakeups;
    int open; /* connections */
} world;

/* ---- fakes, on the plan's thread ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

FAKE(void, wakeup_signal, (int fd UNUSED))
{
    atomic_fetch_add(&world.wakeups, 1);
}

FAKE(bool, db_open_together,
     (struct db * *const out[], size_t n, const struct db_options *how UNUSED, struct error *err))
{
    if (atomic_load(&world.refusals) > 0) {
        atomic_fetch_sub(&world.refusals, 1);
        return error_set(err, ERROR_RETRY, "the pool is full");
    }
    diary_note("open:%d", (int)n);
    if (!diary_goes_well("open", err))
        return false;
    for (size_t i = 0; i < n; i++)
        *out[i] = (struct db *)&world;
    world.open = (int)n;
    return true;
}

FAKE(void, db_free, (struct db * db))
{
    world.open -= db != NULL;
}

FAKE(void, db_set_response_timeout, (struct db * db UNUSED, int64_t ms UNUSED))
{
}

FAKE(bool, db_begin_snapshot, (struct db * db UNUSED, struct error *err))
{
    diary_note("snapshot");
    return diary_goes_well("snapshot", err);
}

FAKE(bool, db_export_snapshot, (struct db * db UNUSED, char *name UNUSED, struct error *err))
{
    return diary_goes_well("export", err);
}

FAKE(bool, db_join_snapshot, (struct db * db UNUSED, const char *name UNUSED, struct error *err))
{
    diary_note("join");
    return diary_goes_well("join", err);
}

FAKE(bool, db_backend, (struct db * db UNUSED, int32_t *backend, struct error *err))
{
    *backend = 1;
    return diary_goes_well("backend", err);
}

FAKE(bool, runs_begin_plan_send,
     (struct db * db UNUSED, const struct run_task *task UNUSED,
      const int32_t backends[PLAN_BACKENDS] UNUSED, struct error *err))
{
    diary_note("begin");
    return diary_goes_well("begin", err);
}

FAKE(bool, runs_end_plan,
     (struct db * db UNUSED, const struct run_task *task UNUSED, const struct run_counts *counts,
      struct error *err))
{
    diary_note("end:%d", (int)counts->selected);
    return diary_goes_well("end", err);
}

FAKE(struct db_canceller *, db_canceller_new, (const struct db *db UNUSED))
{
    return (struct db_canceller *)&world;
}

FAKE(void, db_canceller_free, (struct db_canceller * canceller UNUSED))
{
}

FAKE(void, db_canceller_fire, (struct db_canceller * canceller UNUSED))
{
    atomic_fetch_add(&world.cancelled, 1);
}

static void wait_for_cancel(void)
{
    int64_t until_ms = clock_ms() + ENOUGH_MS;

    atomic_store(&world.reading, true);
    while (atomic_load(&world.cancelled) == 0 && clock_ms() < until_ms)
        (void)poll(NULL, 0, 1);
}

/* A batch, and members of whom one has left since an earlier pass planned it. */
FAKE(bool, member_scan_read, (struct member_scan * scan, struct error *err))
{
    const struct member_count counted = { .members = ROWS, .doubt_counted = true, .doubtful = 2 };
    const struct scan_observer *observer = scan->observer;

    diary_note("read");
    observer->counted(observer->opaque, &counted);
    observer->planned(observer->opaque);
    scan->selection.seen = ROWS;
    scan->selection.counts.read = scan->selection.counts.selected = ROWS + 1;
    scan->selection.counts.gone = 1;
    if (world.reads_until_cancelled)
        wait_for_cancel();
    if (!observer->go_on(observer->opaque, &scan->selection))
        return error_set(err, ERROR_LOST, "the plan was stopped");
    return world.read_fails_as == ERROR_NONE || error_set(err, world.read_fails_as, "42703");
}

/* ---- the cases ---- */

static char export_name[] = "news", list_id[] = "L";
static const struct run_task task = { .run_id = 7, .export_name = export_name, .list_id = list_id };

static struct plan *start(const char *failing)
{
    const struct plan_options options = { .task = &task, .wakeup_fd = -1, .lease_ms = LEASE_MS };
    struct error err = ERROR_INIT;

    diary_begin(failing);
    struct plan *plan = plan_start(&options, &err);
    assert_non_null(plan);
    return plan;
}

static void world_begin(void)
{
    memset(&world, 0, sizeof world);
}

/* Until it has ended, or waits. */
static void wait_for(const struct plan *plan, bool waiting)
{
    int64_t until_ms = clock_ms() + ENOUGH_MS;

    while (!plan_has_ended(plan) && !(waiting && plan_waiting_since_ms(plan) > 0) &&
           clock_ms() < until_ms)
        (void)poll(NULL, 0, 1);
    assert_true(clock_ms() < until_ms);
}

static enum plan_outcome outcome_of(struct plan *plan, struct error *why)
{
    wait_for(plan, false);
    return plan_result(plan, why);
}

#define CONNECTED "open:3 snapshot join begin"

static void a_plan_connects_reads_and_ends(void **state)
{
    struct error why = ERROR_INIT;

    (void)state;
    world_begin();
    CLEANUP(plan_freep) struct plan *plan = start(NULL);
    assert_int_equal(outcome_of(plan, &why), PLAN_DONE);
    assert_string_equal(diary.text, CONNECTED " read end:8");
    assert_int_equal(world.open, 0);
    assert_int_equal(plan_batches(plan), 1);
    assert_int_equal(plan_counts(plan).selected, ROWS + 1);
    assert_int_equal(plan_counts(plan).gone, 1);
    assert_true(atomic_load(&world.wakeups) >= 2); /* a batch, and the end */
}

/* Members as they are now: what is counted of a run is more. */
static void the_guards_are_told_what_was_counted_and_read(void **state)
{
    struct error why = ERROR_INIT;

    (void)state;
    world_begin();
    CLEANUP(plan_freep) struct plan *plan = start(NULL);
    assert_int_equal(outcome_of(plan, &why), PLAN_DONE);
    struct guards_facts facts = plan_facts(plan);
    assert_true(facts.read_all && facts.doubt_counted);
    assert_int_equal(facts.expected, ROWS);
    assert_int_equal(facts.doubtful, 2);
    assert_int_equal(facts.seen, ROWS);
    assert_int_equal(facts.read, ROWS);
    assert_int_equal(facts.distinct, ROWS);
}

static void what_fails_decides_what_the_plan_comes_to(void **state)
{
    static const struct {
        const char *failing;
        enum error_kind read_fails_as;
        enum plan_outcome outcome;
        enum error_kind why;
        const char *diary;
    } cases[] = {
        { NULL, ERROR_INPUT, PLAN_SOURCE_UNREADABLE, ERROR_INPUT, CONNECTED " read" },
        { NULL, ERROR_RETRY, PLAN_INTERRUPTED, ERROR_RETRY, CONNECTED " read" },
        { NULL, ERROR_LOST, PLAN_INTERRUPTED, ERROR_LOST, CONNECTED " read" },
        { "open", ERROR_NONE, PLAN_INTERRUPTED, ERROR_LOST, "open:3" },
        { "join", ERROR_NONE, PLAN_INTERRUPTED, ERROR_LOST, "open:3 snapshot join" },
        { "begin", ERROR_NONE, PLAN_INTERRUPTED, ERROR_LOST, CONNECTED },
        { "end", ERROR_NONE, PLAN_INTERRUPTED, ERROR_LOST, CONNECTED " read end:8" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error why = ERROR_INIT;

        world_begin();
        world.read_fails_as = cases[i].read_fails_as;
        CLEANUP(plan_freep) struct plan *plan = start(cases[i].failing);
        assert_int_equal(outcome_of(plan, &why), cases[i].outcome);
        assert_int_equal(why.kind, cases[i].why);
        assert_string_equal(diary.text, cases[i].diary);
        assert_int_equal(plan_facts(plan).read_all, cases[i].failing && *cases[i].failing == 'e');
        assert_int_equal(world.open, 0);
    }
}

/* A snapshot whose ledger cannot be had is given back before the next attempt. */
static void connections_are_asked_for_until_all_are_there(void **state)
{
    struct error why = ERROR_INIT;

    (void)state;
    world_begin();
    world.refusals = 1;
    CLEANUP(plan_freep) struct plan *plan = start(NULL);
    assert_int_equal(outcome_of(plan, &why), PLAN_DONE);
    assert_string_equal(diary.text, CONNECTED " read end:8");
    assert_int_equal(plan_waiting_since_ms(plan), 0);
}

static void a_plan_that_waits_for_connections_can_be_stopped(void **state)
{
    struct error why = ERROR_INIT;

    (void)state;
    world_begin();
    world.refusals = 1000000;
    CLEANUP(plan_freep) struct plan *plan = start(NULL);
    wait_for(plan, true);
    assert_true(plan_waiting_since_ms(plan) > 0);
    plan_stop(plan);
    assert_int_equal(outcome_of(plan, &why), PLAN_INTERRUPTED);
    assert_int_equal(why.kind, ERROR_LOST);
    assert_string_equal(diary.text, "");
}

static void a_stop_cancels_the_statements_that_it_waits_for(void **state)
{
    struct error why = ERROR_INIT;

    (void)state;
    world_begin();
    world.reads_until_cancelled = true;
    CLEANUP(plan_freep) struct plan *plan = start(NULL);
    while (!atomic_load(&world.reading))
        (void)poll(NULL, 0, 1);
    plan_stop(plan);
    assert_int_equal(outcome_of(plan, &why), PLAN_INTERRUPTED);
    assert_int_equal(why.kind, ERROR_LOST);
    assert_int_equal(atomic_load(&world.cancelled), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_connects_reads_and_ends),
        cmocka_unit_test(the_guards_are_told_what_was_counted_and_read),
        cmocka_unit_test(what_fails_decides_what_the_plan_comes_to),
        cmocka_unit_test(connections_are_asked_for_until_all_are_there),
        cmocka_unit_test(a_plan_that_waits_for_connections_can_be_stopped),
        cmocka_unit_test(a_stop_cancels_the_statements_that_it_waits_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
