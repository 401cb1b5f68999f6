#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/diary.h"
#include "worker/export/trial_plan.h"
#include "worker/store/runs.h"

static int open_connections; /* that are open */

/* ---- fakes ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

static bool step(const char *name, struct error *err)
{
    diary_note("%s", name);
    return diary_goes_well(name, err);
}

FAKE(bool, db_open_together,
     (struct db * *const out[], size_t n, const struct db_options *how UNUSED, struct error *err))
{
    if (!step("open-both", err))
        return false;
    for (size_t i = 0; i < n; i++)
        *out[i] = (struct db *)&open_connections;
    open_connections += (int)n;
    return true;
}

FAKE(bool, db_open, (struct db * *out, const struct db_options *how UNUSED, struct error *err))
{
    if (!step("open", err))
        return false;
    *out = (struct db *)&open_connections;
    open_connections++;
    return true;
}

FAKE(void, db_free, (struct db * db))
{
    open_connections -= db != NULL;
}

FAKE(bool, db_begin_snapshot, (struct db * db UNUSED, struct error *err))
{
    return step("snapshot", err);
}

FAKE(bool, db_export_snapshot, (struct db * db UNUSED, char *name UNUSED, struct error *err))
{
    return step("export", err);
}

FAKE(bool, db_join_snapshot, (struct db * db UNUSED, const char *name UNUSED, struct error *err))
{
    return step("join", err);
}

FAKE(bool, member_scan_read, (struct member_scan * scan, struct error *err))
{
    assert_non_null(scan->trial);
    assert_null(scan->writer.outbox_db);
    scan->trial->n = 2;
    return step("read", err);
}

FAKE(bool, db_begin, (struct db * db UNUSED, struct error *err))
{
    return step("begin", err);
}

FAKE(bool, member_scan_write_trial,
     (struct member_scan * scan, const struct run_task *task, struct error *err))
{
    assert_non_null(scan->writer.outbox_db);
    assert_int_equal(task->run_id, 7);
    return step("write", err);
}

FAKE(bool, runs_end_plan,
     (struct db * db UNUSED, const struct run_task *task UNUSED, const struct run_counts *counts,
      struct error *err))
{
    assert_int_equal(counts->read, 2);
    assert_int_equal(counts->selected, 2);
    return step("end", err);
}

FAKE(bool, db_commit, (struct db * db UNUSED, struct error *err))
{
    return step("commit", err);
}

/* ---- the cases ---- */

static char list_id[] = "L";
static const struct run_task preview = { .list_id = list_id };
static const struct run_task run = { .run_id = 7, .list_id = list_id };

static bool go_on(void *opaque UNUSED, const struct selection *selection UNUSED)
{
    return true;
}

static bool read_rows(struct trial_plan *plan, const char *failing)
{
    static const struct scan_observer observer = { .go_on = go_on };
    static const struct secret_source url;
    struct error err = ERROR_INIT;

    diary_begin(failing);
    trial_plan_init(plan, &url, 2, NULL);
    bool ok = trial_plan_read(plan, &preview, &observer, &err);
    assert_int_equal(open_connections, 0); /* whatever it came to */
    assert_int_equal(err.kind, ok ? ERROR_NONE : ERROR_LOST);
    return ok;
}

static void end(struct trial_plan *plan)
{
    plan->trial.n = 0; /* rows of the fake: there is nothing in them */
    trial_plan_release(plan);
}

static void rows_are_read_in_one_snapshot_and_no_connection_is_kept(void **state)
{
    struct trial_plan plan;

    (void)state;
    assert_true(read_rows(&plan, NULL));
    assert_string_equal(diary.text, "open-both snapshot export join read");
    end(&plan);
}

static void whatever_fails_while_they_are_read_leaves_no_connection(void **state)
{
    static const char *const calls[] = { "open-both", "snapshot", "export", "join", "read" };

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct trial_plan plan;

        assert_false(read_rows(&plan, calls[i]));
        end(&plan);
    }
}

static void they_are_written_for_the_run_all_or_none(void **state)
{
    static const struct {
        const char *failing, *diary;
    } cases[] = {
        { NULL, "open begin write end commit" },
        { "open", "open" },
        { "begin", "open begin" },
        { "write", "open begin write" },
        { "end", "open begin write end" },
        { "commit", "open begin write end commit" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial_plan plan;
        struct error err = ERROR_INIT;

        assert_true(read_rows(&plan, NULL));
        diary_begin(cases[i].failing);
        assert_int_equal(trial_plan_write(&plan, &run, &err), cases[i].failing == NULL);
        assert_string_equal(diary.text, cases[i].diary);
        assert_int_equal(open_connections, 0);
        end(&plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_read_in_one_snapshot_and_no_connection_is_kept),
        cmocka_unit_test(whatever_fails_while_they_are_read_leaves_no_connection),
        cmocka_unit_test(they_are_written_for_the_run_all_or_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
