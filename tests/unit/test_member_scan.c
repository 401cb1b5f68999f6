#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/diary.h"
#include "worker/export/member_scan.h"
#include "worker/export/preview.h"
#include "worker/klaviyo/import_body.h"
#include "worker/store/ledger.h"
#include "worker/store/members.h"

enum { MANY = 2500, NEVER = -1 };

/* A member as (profile, address), and a row of the ledger; all objects hash to FINGERPRINT. */
struct someone {
    const char *profile, *address; /* address NULL: none */
};

static const int64_t FINGERPRINT = 0x0101010101010101;

static struct {
    const struct someone *members;
    size_t n_members, at_member;
    struct ledger_row rows[8];
    size_t n_rows, at_row;
    bool large;
    bool writing; /* something is on its way: the plan's beginning, or a batch to the outbox */
    int64_t moved;
    bool stopped; /* the observer says stop */
    struct member_count counted;
    int64_t uncounted;  /* members that come though they were not counted */
    struct bytes value; /* of each member's first field, where it is not Ada's */
    bool hashed_unset;  /* the fingerprint was of an object that unsets something */
    bool planned_unset; /* the outbox got one that does */
} world;

/* ---- fakes ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

FAKE(bool, members_open,
     (struct members * *out, struct db *db UNUSED, const struct run_task *task UNUSED,
      struct error *err))
{
    *out = (struct members *)&world;
    return diary_goes_well("open", err);
}

FAKE(void, members_free, (struct members * members UNUSED))
{
    world.at_member = 0;
}

FAKE(bool, members_count,
     (const struct members *members UNUSED, struct db *db UNUSED, int64_t at_most, int64_t *n,
      struct error *err))
{
    *n = world.large ? at_most : (int64_t)world.n_members - world.uncounted;
    return diary_goes_well("count", err);
}

FAKE(bool, members_each_address,
     (const struct members *members UNUSED, struct db *db UNUSED, int64_t values_bytes,
      members_address *take, void *opaque, struct error *err))
{
    assert_true(values_bytes > 16000); /* 100,000, and six bytes for each */
    for (size_t i = 0; i < world.n_members; i++) {
        const char *address = world.members[i].address;
        take(opaque, &(struct bytes){ address, address ? strlen(address) : 0 });
    }
    diary_note("addresses");
    return diary_goes_well("addresses", err);
}

FAKE(bool, db_savepoint, (struct db * db UNUSED, struct error *err))
{
    return diary_goes_well("savepoint", err);
}

FAKE(void, db_undo_to_savepoint, (struct db * db UNUSED))
{
    diary_note("undo");
}

FAKE(bool, members_count_moved,
     (const struct members *members UNUSED, int64_t *n, struct error *err))
{
    *n = world.moved;
    return diary_goes_well("moved", err);
}

FAKE(bool, members_start, (struct members * members UNUSED, bool large, struct error *err))
{
    if (large)
        diary_note("large");
    return diary_goes_well("start", err);
}

static struct bytes field_of(const char *text)
{
    return (struct bytes){ text, text ? strlen(text) : 0 };
}

FAKE(enum members_next, members_next,
     (struct members * members UNUSED, struct member *member, struct error *err))
{
    static const struct bytes first_name = { "\"Ada\"", 5 };

    if (!diary_goes_well("members", err))
        return MEMBERS_ERROR;
    if (world.at_member == world.n_members)
        return MEMBERS_END;
    const struct someone *one = &world.members[world.at_member++];
    *member = (struct member){ .profile_id = field_of(one->profile),
                               .address = field_of(one->address),
                               .fields = world.value.at ? &world.value : &first_name };
    return MEMBERS_ROW;
}

FAKE(bool, ledger_open,
     (struct ledger * *out, struct db *db UNUSED, const struct run_task *task UNUSED,
      struct error *err))
{
    *out = (struct ledger *)&world;
    return diary_goes_well("open_ledger", err);
}

FAKE(void, ledger_free, (struct ledger * ledger UNUSED))
{
    world.at_row = 0;
}

FAKE(bool, ledger_is_empty, (const struct ledger *ledger UNUSED))
{
    return world.n_rows == 0;
}

FAKE(enum ledger_next, ledger_next,
     (struct ledger * ledger UNUSED, struct ledger_row *row, struct error *err))
{
    if (!diary_goes_well("ledger", err))
        return LEDGER_ERROR;
    if (world.at_row == world.n_rows)
        return LEDGER_END;
    *row = world.rows[world.at_row++];
    return LEDGER_ROW;
}

FAKE(int, crypto_shorthash,
     (unsigned char *out, const unsigned char *in, unsigned long long n,
      const unsigned char *key UNUSED))
{
    world.hashed_unset |= memmem(in, n, "unset", 5) != NULL;
    memset(out, 1, sizeof(int64_t));
    return 0;
}

FAKE(bool, runs_begin_plan_await, (struct db * db UNUSED, struct error *err))
{
    assert_true(world.writing);
    world.writing = false;
    return diary_goes_well("begin_plan", err);
}

FAKE(bool, outbox_plan_begin,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct batch_rows *rows,
      const struct outbox_plan *plan, struct error *err))
{
    assert_false(world.writing); /* nothing else is asked of the connection meanwhile */
    diary_note("plan:%d%s", (int)rows->n, plan->names_list ? ":list" : "");
    world.planned_unset |= memmem(plan->body->data, plan->body->len, "unset", 5) != NULL;
    world.writing = diary_goes_well("plan", err);
    return world.writing;
}

FAKE(bool, outbox_plan_end, (struct db * db UNUSED, struct error *err))
{
    assert_true(world.writing);
    world.writing = false;
    return diary_goes_well("plan_end", err);
}

FAKE(bool, local_rejections_write,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct local_rejections *invalid,
      struct error *err))
{
    assert_false(world.writing);
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
    assert_false(world.writing);
    if (leavers->n > 0)
        diary_note("left:%d", (int)leavers->n);
    leavers_clear(leavers);
    return diary_goes_well("left", err);
}

FAKE(bool, leavers_forget,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct leavers *leavers,
      struct error *err))
{
    assert_false(world.writing);
    if (leavers->n > 0)
        diary_note("forget:%d", (int)leavers->n);
    leavers_clear(leavers);
    return diary_goes_well("forget", err);
}

FAKE(bool, db_open_together,
     (struct db * *const out[], size_t n, const struct db_options *options UNUSED,
      struct error *err))
{
    for (size_t i = 0; i < n; i++)
        *out[i] = (struct db *)&world;
    return diary_goes_well("connect", err);
}

FAKE(void, db_free, (struct db * db UNUSED))
{
}

FAKE(bool, db_begin_snapshot, (struct db * db UNUSED, struct error *err))
{
    return diary_goes_well("snapshot", err);
}

FAKE(bool, db_export_snapshot, (struct db * db UNUSED, char *name UNUSED, struct error *err))
{
    return diary_goes_well("export", err);
}

FAKE(bool, db_join_snapshot, (struct db * db UNUSED, const char *name UNUSED, struct error *err))
{
    return diary_goes_well("join", err);
}

/* ---- the observer ---- */

static void counted(void *opaque UNUSED, const struct member_count *count)
{
    world.counted = *count;
}

static void planned(void *opaque UNUSED)
{
}

static bool go_on(void *opaque UNUSED, const struct selection *selection)
{
    return !world.stopped || selection->seen < 1000;
}

static const struct scan_observer observer = { .counted = counted,
                                               .planned = planned,
                                               .go_on = go_on };

/* ---- the cases ---- */

static char first_name[] = "first_name", list_id[] = "L";
static struct export_field fields[] = { { .name = first_name } };

static struct run_task new_task(void)
{
    return (struct run_task){ .run_id = 7,
                              .max_profiles = 100000,
                              .removes_leavers = true,
                              .list_id = list_id,
                              .fields = fields,
                              .n_fields = 1 };
}

static void world_begin(const struct someone *members, size_t n, const char *failing)
{
    diary_begin(failing);
    memset(&world, 0, sizeof world);
    world.members = members;
    world.n_members = n;
    world.counted.members = NEVER;
}

static void world_knows(const char *address, struct ledger_row row)
{
    row.address = field_of(address);
    world.rows[world.n_rows++] = row;
}

/* The counts of the scan; with a connection to write, or as a preview. */
static bool scan(const struct run_task *task, bool writes, struct run_counts *counts,
                 struct error *err)
{
    CLEANUP(member_scan_release) struct member_scan scan;

    assert_true(member_scan_init(&scan, task, &observer, err));
    scan.writer.outbox_db = writes ? (struct db *)&world : NULL;
    scan.writer.is_beginning = world.writing = writes;
    bool ok = member_scan_read(&scan, err);
    assert_false(world.writing);
    *counts = scan.selection.counts;
    return ok;
}

static const struct someone six[] = {
    { "1", NULL },  { "2", "ada@shop.example" }, { "3", "ada@shop.example" },
    { "4", "bad" }, { "5", "bob@shop.example" }, { "6", "cy@shop.example" },
};
enum { SIX = sizeof six / sizeof six[0] };

static void world_of_six(const char *failing)
{
    world_begin(six, SIX, failing);
    world_knows("amy@shop.example", (struct ledger_row){ .confirmed = true, .listed = true });
    world_knows("ann@shop.example", (struct ledger_row){ .fingerprint = 1 });
    world_knows(
        "bob@shop.example",
        (struct ledger_row){ .confirmed = true, .listed = true, .fingerprint = FINGERPRINT });
    world_knows("cy@shop.example",
                (struct ledger_row){ .confirmed = true, .listed = true, .fingerprint = 1 });
}

/* New, duplicate, invalid, unchanged, changed, left, and never on the list. */
static void each_member_and_each_row_comes_to_its_end(void **state)
{
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    world_of_six(NULL);
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "plan:1:list plan:1 left:1 forget:1 reject:2");
    assert_int_equal(counts.read, 6);
    assert_int_equal(counts.invalid, 2);
    assert_int_equal(counts.duplicate, 1);
    assert_int_equal(counts.unchanged, 1);
    assert_int_equal(counts.selected, 2);
    assert_int_equal(counts.left, 1);
    assert_int_equal(world.counted.members, 6);
    assert_false(world.counted.doubt_counted);
}

static void a_preview_counts_the_same_and_writes_nothing(void **state)
{
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts written, counts;

    (void)state;
    world_of_six(NULL);
    assert_true(scan(&task, true, &written, &err));
    world_of_six(NULL);
    assert_true(scan(&task, false, &counts, &err));
    assert_string_equal(diary.text, "");
    assert_memory_equal(&counts, &written, sizeof counts);
}

static void a_preview_shows_examples_and_counts_changed_addresses(void **state)
{
    struct run_task task = new_task();
    struct preview_options options = { .task = &task };
    struct preview preview;
    struct error err = ERROR_INIT;

    (void)state;
    world_of_six(NULL);
    world.moved = 1;
    assert_true(preview_read(&options, &preview, &err));
    assert_int_equal(preview.counts.selected, 2);
    assert_int_equal(preview.batches, 2);
    assert_int_equal(preview.moved, 1);
    assert_int_equal(preview.examples.n, 3);
    assert_non_null(strstr(preview.examples.object[0], "ada@shop.example"));
    preview_release(&preview);

    static const char *const calls[] = { "connect", "snapshot", "export", "join", "moved" };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        world_of_six(calls[i]);
        assert_false(preview_read(&options, &preview, &err));
        preview_release(&preview);
    }
}

static void whatever_fails_ends_the_scan(void **state)
{
    static const char *const calls[] = { "begin_plan", "open",    "open_ledger", "count",
                                         "start",      "members", "ledger",      "plan",
                                         "plan_end",   "reject",  "left",        "forget" };

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct run_task task = new_task();
        struct error err = ERROR_INIT;
        struct run_counts counts;

        world_of_six(calls[i]);
        assert_false(scan(&task, true, &counts, &err));
        assert_int_equal(err.kind, ERROR_LOST);
    }
}

static void who_left_is_counted_and_not_marked_where_the_export_keeps_them(void **state)
{
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    task.removes_leavers = false;
    world_of_six(NULL);
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "plan:1:list plan:1 forget:1 reject:2");
    assert_int_equal(counts.left, 1);
}

/* Else who has lost a value would be sent in every run. */
static void the_fingerprint_is_of_the_values_and_not_of_what_is_unset(void **state)
{
    static const struct someone one[] = { { "1", "ada@shop.example" } };
    static char tier[] = "tier";
    struct export_field property = { .is_property = true, .name = tier };
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    task.fields = &property;
    world_begin(one, 1, NULL);
    world.value = field_of("null");
    world_knows("ada@shop.example",
                (struct ledger_row){ .confirmed = true, .has_filled = true, .filled = UINT64_MAX });
    assert_true(scan(&task, true, &counts, &err));
    assert_true(world.planned_unset);
    assert_false(world.hashed_unset);
}

static void a_profile_of_the_largest_size_is_sent_and_a_byte_more_is_not(void **state)
{
    static const struct someone one[] = { { "1", "ada@shop.example" } };
    static char value[IMPORT_BODY_MAX_ROW_BYTES + 1];
    static const char rest[] = "{\"type\":\"profile\",\"attributes\":{\"email\":"
                               "\"ada@shop.example\",\"first_name\":}}";
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    for (size_t more = 0; more <= 1; more++) {
        size_t n = IMPORT_BODY_MAX_ROW_BYTES - (sizeof rest - 1) + more;

        memset(value, 'a', n);
        value[0] = value[n - 1] = '"';
        value[n] = '\0';
        world_begin(one, 1, NULL);
        world.value = field_of(value);
        assert_true(scan(&task, true, &counts, &err));
        assert_string_equal(diary.text, more ? "reject:1" : "plan:1:list");
    }
}

static void who_was_refused_goes_in_batches_of_their_own(void **state)
{
    static const struct someone two[] = { { "1", "ada@shop.example" },
                                          { "2", "bob@shop.example" } };
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    world_begin(two, 2, NULL);
    world_knows("ada@shop.example", (struct ledger_row){ .rejected = true });
    world_knows("bob@shop.example", (struct ledger_row){ .rejected = true, .listed = true });
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "plan:1:list plan:1");
}

static void what_this_run_has_done_with_is_not_sent_again(void **state)
{
    static const struct someone one[] = { { "1", "ada@shop.example" } };
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    world_begin(one, 1, NULL);
    world_knows("ada@shop.example", (struct ledger_row){ .settled = true });
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "");
    assert_int_equal(counts.selected, 1);
}

/* MANY members with addresses in order. */
static void make_many(struct someone *many, char text[MANY][32], bool valid)
{
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(text[i], sizeof text[i], valid ? "p%05d@shop.example" : "p%05d", i);
        many[i] = (struct someone){ text[i], text[i] };
    }
}

static void many_rejections_are_written_on_the_way(void **state)
{
    static struct someone many[MANY];
    static char text[MANY][32];
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    make_many(many, text, false);
    world_begin(many, MANY, NULL);
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "reject:1000 reject:1000 reject:500");
}

static void over_the_limit_members_are_counted_and_nothing_is_planned(void **state)
{
    static struct someone many[MANY];
    static char text[MANY][32];
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    make_many(many, text, true);
    world_begin(many, MANY, NULL);
    task.max_profiles = MANY - 1;
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "");
    assert_int_equal(counts.selected, MANY);

    world_begin(many, MANY, NULL);
    task.max_profiles = MANY;
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "plan:2500:list");
}

/* At the limit, retaken: one of those planned before has left, and another has come. */
static void who_left_since_an_earlier_pass_takes_no_room_of_the_limit(void **state)
{
    static const struct someone two[] = { { "1", "bob@shop.example" }, { "2", "cy@shop.example" } };
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    world_begin(two, 2, NULL);
    world_knows("ada@shop.example", (struct ledger_row){ .settled = true });
    world_knows("bob@shop.example", (struct ledger_row){ .settled = true });
    task.max_profiles = 2;
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "plan:1:list left:1");
    assert_int_equal(counts.selected, 3);
}

/* The run may have passed by the count, and imports: then everybody goes. */
static void where_more_come_than_were_counted_nobody_is_left_out(void **state)
{
    static const struct someone two[] = { { "1", "bob@shop.example" }, { "2", "cy@shop.example" } };
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    world_begin(two, 2, NULL);
    world.uncounted = 1;
    task.max_profiles = 1;
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "plan:2:list");
}

static void of_many_new_members_the_doubtful_are_counted_beside_the_sort(void **state)
{
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    world_begin(six, SIX, NULL);
    world.large = true;
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "large addresses plan:3:list reject:2");
    assert_int_equal(world.counted.members, SIX);
    assert_true(world.counted.doubt_counted);
    assert_int_equal(world.counted.doubtful, 2);

    world_of_six(NULL);
    world.large = true;
    assert_true(scan(&task, true, &counts, &err));
    assert_string_equal(diary.text, "large plan:1:list plan:1 left:1 forget:1 reject:2");
    assert_int_equal(world.counted.members, NEVER); /* few may be new */
}

static void who_cannot_be_counted_is_read_all_the_same(void **state)
{
    static const struct {
        const char *failing, *diary;
    } cases[] = { { "addresses", "large addresses undo plan:3:list reject:2" },
                  { "savepoint", "large plan:3:list reject:2" } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run_task task = new_task();
        struct error err = ERROR_INIT;
        struct run_counts counts;

        world_begin(six, SIX, cases[i].failing);
        world.large = true;
        assert_true(scan(&task, true, &counts, &err));
        assert_string_equal(diary.text, cases[i].diary);
        assert_int_equal(world.counted.members, NEVER);
    }
}

static void a_scan_that_is_not_wanted_any_more_stops(void **state)
{
    static struct someone many[MANY];
    static char text[MANY][32];
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct run_counts counts;

    (void)state;
    make_many(many, text, true);
    world_begin(many, MANY, NULL);
    world.stopped = true;
    assert_false(scan(&task, true, &counts, &err));
    assert_int_equal(err.kind, ERROR_LOST);
    assert_int_equal(counts.read, 1024);
    assert_string_equal(diary.text, "");
}

static void a_trial_takes_its_rows_and_writes_them_when_it_is_told(void **state)
{
    struct run_task task = new_task();
    struct error err = ERROR_INIT;
    struct trial trial;
    CLEANUP(member_scan_release) struct member_scan scan;

    (void)state;
    world_of_six(NULL);
    trial_init(&trial, 2, NULL, 100000);
    assert_true(member_scan_init(&scan, &task, NULL, &err));
    scan.trial = &trial;
    assert_true(member_scan_read(&scan, &err));
    assert_int_equal(trial.n, 2);
    assert_string_equal(trial.row[0].address, "ada@shop.example");
    assert_string_equal(trial.row[1].address, "bob@shop.example");
    assert_string_equal(diary.text, "");
    scan.writer.outbox_db = (struct db *)&world;
    assert_true(member_scan_write_trial(&scan, &task, &err));
    assert_string_equal(diary.text, "plan:1:list plan:1");
    trial_release(&trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_member_and_each_row_comes_to_its_end),
        cmocka_unit_test(a_preview_counts_the_same_and_writes_nothing),
        cmocka_unit_test(a_preview_shows_examples_and_counts_changed_addresses),
        cmocka_unit_test(whatever_fails_ends_the_scan),
        cmocka_unit_test(who_left_is_counted_and_not_marked_where_the_export_keeps_them),
        cmocka_unit_test(the_fingerprint_is_of_the_values_and_not_of_what_is_unset),
        cmocka_unit_test(a_profile_of_the_largest_size_is_sent_and_a_byte_more_is_not),
        cmocka_unit_test(who_was_refused_goes_in_batches_of_their_own),
        cmocka_unit_test(what_this_run_has_done_with_is_not_sent_again),
        cmocka_unit_test(many_rejections_are_written_on_the_way),
        cmocka_unit_test(over_the_limit_members_are_counted_and_nothing_is_planned),
        cmocka_unit_test(who_left_since_an_earlier_pass_takes_no_room_of_the_limit),
        cmocka_unit_test(where_more_come_than_were_counted_nobody_is_left_out),
        cmocka_unit_test(of_many_new_members_the_doubtful_are_counted_beside_the_sort),
        cmocka_unit_test(who_cannot_be_counted_is_read_all_the_same),
        cmocka_unit_test(a_scan_that_is_not_wanted_any_more_stops),
        cmocka_unit_test(a_trial_takes_its_rows_and_writes_them_when_it_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
