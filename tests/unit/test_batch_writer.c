#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/diary.h"
#include "worker/export/batch_writer.h"
#include "worker/klaviyo/import_body.h"

static struct {
    bool waiting; /* something is on its way, and nothing else is asked of the connection */
    int planned;  /* batches, as the writer tells of them */
    enum error_kind refused_as; /* what the outbox says of a batch; NONE: it takes it */
} world;

/* ---- fakes ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

FAKE(void, db_free, (struct db * db UNUSED))
{
}

FAKE(bool, runs_begin_plan_send,
     (struct db * db UNUSED, const struct run_task *task UNUSED,
      const int32_t backends[PLAN_BACKENDS] UNUSED, struct error *err))
{
    world.waiting = diary_goes_well("send", err);
    return world.waiting;
}

FAKE(bool, runs_begin_plan_await, (struct db * db UNUSED, struct error *err))
{
    assert_true(world.waiting);
    world.waiting = false;
    diary_note("begun");
    return diary_goes_well("await", err);
}

FAKE(bool, outbox_plan_begin,
     (struct db * db UNUSED, const struct run_task *task, struct batch_rows *rows,
      const struct outbox_plan *plan, struct error *err))
{
    assert_false(world.waiting);
    assert_int_equal(task->run_id, 7);
    diary_note("plan:%d%s", (int)rows->n, plan->names_list ? ":list" : "");
    if (world.refused_as != ERROR_NONE)
        return error_set(err, world.refused_as, "the outbox refuses it");
    world.waiting = diary_goes_well("plan", err);
    return world.waiting;
}

FAKE(bool, outbox_plan_end, (struct db * db UNUSED, struct error *err))
{
    assert_true(world.waiting);
    world.waiting = false;
    diary_note("planned");
    return diary_goes_well("plan_end", err);
}

FAKE(bool, local_rejections_write,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct local_rejections *invalid,
      struct error *err))
{
    assert_false(world.waiting);
    if (invalid->n > 0)
        diary_note("reject:%d", (int)invalid->n);
    local_rejections_release(invalid);
    local_rejections_init(invalid);
    return diary_goes_well("reject", err);
}

FAKE(bool, leavers_mark,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct leavers *leavers,
      struct error *err))
{
    assert_false(world.waiting);
    if (leavers->n > 0)
        diary_note("left:%d", (int)leavers->n);
    leavers_clear(leavers);
    return diary_goes_well("left", err);
}

FAKE(bool, leavers_forget,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct leavers *leavers,
      struct error *err))
{
    assert_false(world.waiting);
    if (leavers->n > 0)
        diary_note("forget:%d", (int)leavers->n);
    leavers_clear(leavers);
    return diary_goes_well("forget", err);
}

/* ---- the cases ---- */

static char list_id[] = "L";
static const struct run_task task = { .run_id = 7, .removes_leavers = true, .list_id = list_id };
static const struct bytes ada = { "ada@shop.example", 16 }, ada_id = { "1", 1 };
static const int32_t backends[PLAN_BACKENDS];

static void count_planned(void *opaque UNUSED)
{
    world.planned++;
}

/* A writer that has begun; without a connection where it writes nothing. */
static void begin(struct batch_writer *writer, bool writes, const char *failing)
{
    struct error err = ERROR_INIT;

    diary_begin(failing);
    memset(&world, 0, sizeof world);
    batch_writer_init(writer, &task);
    writer->planned_one = count_planned;
    writer->keeps_rows = writes;
    writer->outbox_db = writes ? (struct db *)&world : NULL;
    if (writes)
        assert_true(batch_writer_begin(writer, backends, &err));
}

static bool add(struct batch_writer *writer, enum planned_kind kind, size_t n, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf object = STRBUF_INIT(100);
    const struct batch_row row = { .address = ada, .profile_id = ada_id };

    strbuf_add_str(&object, "{}");
    for (size_t i = 0; i < n; i++)
        if (!batch_writer_add(writer, kind, &object, writer->keeps_rows ? &row : NULL, err))
            return false;
    return true;
}

/* One of each: a batch, a rejection, one who left and one who never was on the list. */
static bool write_each(struct batch_writer *writer, struct error *err)
{
    return add(writer, PLANNED_NEW, 1, err) &&
           batch_writer_reject(writer, ada, ada_id, "email_malformed", err) &&
           batch_writer_mark(writer, ada, err) && batch_writer_forget(writer, ada, err) &&
           batch_writer_finish(writer, err);
}

static void batches_come_before_the_lists_and_the_first_waits_for_the_beginning(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    assert_true(write_each(&writer, &err));
    assert_string_equal(diary.text, "begun plan:1:list planned left:1 forget:1 reject:1");
    assert_int_equal(world.planned, 1);
    assert_false(world.waiting);
}

static void where_there_is_nothing_the_beginning_is_waited_for(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    assert_true(batch_writer_finish(&writer, &err));
    assert_string_equal(diary.text, "begun");
}

static void a_full_batch_is_on_its_way_while_the_next_is_made(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    assert_true(add(&writer, PLANNED_LISTED, IMPORT_BODY_MAX_ROWS, &err));
    assert_string_equal(diary.text, "");
    assert_true(add(&writer, PLANNED_LISTED, 1, &err));
    assert_string_equal(diary.text, "begun plan:10000");
    assert_true(world.waiting);
    assert_int_equal(world.planned, 0);
    assert_true(batch_writer_finish(&writer, &err));
    assert_string_equal(diary.text, "begun plan:10000 planned plan:1 planned");
    assert_int_equal(world.planned, 2);
    assert_int_equal(writer.batches, 2);
    assert_int_equal(writer.body_bytes, IMPORT_BODY_MAX_ROWS * 4 - 2 + 2);
}

static void each_kind_has_batches_of_its_own(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    for (enum planned_kind kind = 0; kind < PLANNED_KINDS; kind++)
        assert_true(add(&writer, kind, kind + 1, &err));
    assert_true(batch_writer_finish(&writer, &err));
    assert_string_equal(diary.text,
                        "begun plan:1:list planned plan:2 planned plan:3:list planned plan:4 "
                        "planned");
}

static void full_lists_are_written_on_the_way(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    for (int i = 0; i < 1001; i++)
        assert_true(batch_writer_reject(&writer, ada, ada_id, "email_malformed", &err));
    for (int i = 0; i < 10001; i++)
        assert_true(batch_writer_mark(&writer, ada, &err) &&
                    batch_writer_forget(&writer, ada, &err));
    assert_string_equal(diary.text, "begun reject:1000 left:10000 forget:10000");
    assert_true(batch_writer_finish(&writer, &err));
    assert_string_equal(diary.text,
                        "begun reject:1000 left:10000 forget:10000 left:1 forget:1 reject:1");
}

static void without_a_connection_batches_are_counted_and_nothing_is_written(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, false, NULL);
    assert_true(write_each(&writer, &err));
    assert_string_equal(diary.text, "");
    assert_int_equal(writer.batches, 1);
    assert_int_equal(writer.body_bytes, 2);
}

static void over_the_limit_batches_are_counted_only(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    writer.over_limit = true;
    assert_true(write_each(&writer, &err));
    assert_string_equal(diary.text, "begun left:1 forget:1 reject:1");
    assert_int_equal(writer.batches, 1);
}

static void rows_that_are_kept_wait_for_a_connection(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, false, NULL);
    writer.keeps_rows = true;
    assert_true(add(&writer, PLANNED_NEW, 2, &err));
    writer.outbox_db = (struct db *)&world;
    assert_true(batch_writer_finish(&writer, &err));
    assert_string_equal(diary.text, "plan:2:list planned");
}

static void who_left_is_not_marked_where_the_export_keeps_them(void **state)
{
    struct run_task keeping = task;
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    keeping.removes_leavers = false;
    writer.task = &keeping;
    assert_true(write_each(&writer, &err));
    assert_string_equal(diary.text, "begun plan:1:list planned forget:1 reject:1");
}

static void what_the_outbox_refuses_is_no_fault_of_the_source(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    world.refused_as = ERROR_INPUT;
    assert_false(write_each(&writer, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
}

static void after_a_failure_nothing_is_left_on_its_way(void **state)
{
    static const char *const calls[] = { "await", "plan", "plan_end", "reject", "left", "forget" };

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        CLEANUP(batch_writer_release) struct batch_writer writer;
        struct error err = ERROR_INIT;

        begin(&writer, true, calls[i]);
        assert_false(write_each(&writer, &err));
        assert_int_equal(err.kind, ERROR_LOST);
        batch_writer_abandon(&writer);
        assert_false(world.waiting);
    }
}

static void what_was_begun_can_be_abandoned(void **state)
{
    CLEANUP(batch_writer_release) struct batch_writer writer;
    struct error err = ERROR_INIT;

    (void)state;
    begin(&writer, true, NULL);
    assert_true(add(&writer, PLANNED_NEW, IMPORT_BODY_MAX_ROWS + 1, &err));
    assert_true(world.waiting);
    batch_writer_abandon(&writer);
    assert_string_equal(diary.text, "begun plan:10000:list planned");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_before_the_lists_and_the_first_waits_for_the_beginning),
        cmocka_unit_test(where_there_is_nothing_the_beginning_is_waited_for),
        cmocka_unit_test(a_full_batch_is_on_its_way_while_the_next_is_made),
        cmocka_unit_test(each_kind_has_batches_of_its_own),
        cmocka_unit_test(full_lists_are_written_on_the_way),
        cmocka_unit_test(without_a_connection_batches_are_counted_and_nothing_is_written),
        cmocka_unit_test(over_the_limit_batches_are_counted_only),
        cmocka_unit_test(rows_that_are_kept_wait_for_a_connection),
        cmocka_unit_test(who_left_is_not_marked_where_the_export_keeps_them),
        cmocka_unit_test(what_the_outbox_refuses_is_no_fault_of_the_source),
        cmocka_unit_test(after_a_failure_nothing_is_left_on_its_way),
        cmocka_unit_test(what_was_begun_can_be_abandoned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
