#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/log.h"
#include "tests/unit/diary.h"
#include "worker/ingest/reread.h"
#include "worker/kafka/record_lookup.h"

/* Which record is read when: on a clock that stands until the test moves it, without Kafka. */
enum {
    START_MS = 1000000,
    TURN_MS = 35 * 1000,
    TEN_MINUTES_MS = 600 * 1000,
    PARTITIONS = 4,
    EPOCH = 1
};

static const char good[] =
    "{\"segment_id\":\"s\",\"refresh_id\":\"r\",\"refreshed_at\":\"2026-11-24T08:00:47Z\"}";

static struct {
    int64_t now_ms;
    bool is_silent[PARTITIONS]; /* it brings nothing */
    bool wants;
    struct record record; /* what is wanted */
    int warnings;
} world;

int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_ms(void)
{
    return world.now_ms;
}

void __wrap_log_write(enum log_level level, const char *event, const struct log_field fields[]);
void __wrap_log_write(enum log_level level, const char *event, const struct log_field fields[])
{
    (void)level, (void)fields;
    world.warnings += strcmp(event, "record_not_reread") == 0;
}

struct record_lookup *__wrap_record_lookup_new(const struct settings *settings, struct error *err);
struct record_lookup *__wrap_record_lookup_new(const struct settings *settings, struct error *err)
{
    static int stands_for_it;

    (void)settings, (void)err;
    return (struct record_lookup *)(void *)&stands_for_it;
}

void __wrap_record_lookup_free(struct record_lookup *lookup UNUSED);
void __wrap_record_lookup_free(struct record_lookup *lookup UNUSED)
{
}

void __wrap_record_lookup_retire(struct record_lookup *lookup UNUSED);
void __wrap_record_lookup_retire(struct record_lookup *lookup UNUSED)
{
}

void __wrap_record_lookup_want(struct record_lookup *lookup, int32_t partition, int64_t offset);
void __wrap_record_lookup_want(struct record_lookup *lookup UNUSED, int32_t partition,
                               int64_t offset)
{
    world.wants = true;
    world.record = (struct record){ .topic = "t",
                                    .partition = partition,
                                    .offset = offset,
                                    .value = good,
                                    .value_bytes = strlen(good) };
}

void __wrap_record_lookup_rest(struct record_lookup *lookup);
void __wrap_record_lookup_rest(struct record_lookup *lookup UNUSED)
{
    world.wants = false;
}

enum record_lookup_result __wrap_record_lookup_poll(struct record_lookup *lookup, int64_t now_ms,
                                                    const struct record **record);
enum record_lookup_result __wrap_record_lookup_poll(struct record_lookup *lookup UNUSED,
                                                    int64_t now_ms UNUSED,
                                                    const struct record **record)
{
    if (!world.wants || world.is_silent[world.record.partition])
        return RECORD_LOOKUP_PENDING;
    world.wants = false;
    *record = &world.record;
    return RECORD_LOOKUP_FOUND;
}

static const struct settings settings;
static struct reread *reread;

static void begin(void)
{
    memset(&world, 0, sizeof world);
    world.now_ms = START_MS;
    diary_begin(NULL);
    reread = reread_new(&settings);
    assert_non_null(reread);
}

static void add(enum pending_event_state state, int32_t partition, int64_t offset)
{
    const struct record record = { .topic = "t",
                                   .partition = partition,
                                   .offset = offset,
                                   .value = good,
                                   .value_bytes = strlen(good) };
    struct pending_event *event = NULL;
    struct error why = ERROR_INIT;

    assert_int_equal(pending_event_new(&record, EPOCH, &event, &why), EVENT_VALID);
    (void)pending_event_drop_body(event);
    event->state = state;
    reread_add(reread, event);
}

static void add_letter(int32_t partition, int64_t offset)
{
    add(PENDING_EVENT_DEAD_LETTER_DUE, partition, offset);
}

static void add_unread(int32_t partition, int64_t offset)
{
    add(PENDING_EVENT_UNREAD, partition, offset);
}

/* In turns, as the control thread asks; how many came. */
static size_t read_all(void)
{
    const struct reread_room room = { .unread = true, .letters = true };
    size_t n = 0;

    for (int turn = 0; turn < 2; turn++)
        for (struct pending_event *event; (event = reread_next(reread, room)); n++) {
            assert_non_null(event->body);
            if (n < 10)
                diary_note("%d/%d", (int)event->partition, (int)event->offset);
            pending_event_free(event);
        }
    return n;
}

static void assert_read(const char *expected)
{
    diary_begin(NULL);
    (void)read_all();
    assert_string_equal(diary.text, expected);
}

/* Two letters of a partition that brings nothing, and two events of another. */
static void begin_with_a_silent_partition(void)
{
    begin();
    world.is_silent[1] = true;
    add_letter(1, 0);
    add_letter(1, 1);
    add_letter(0, 0);
    add_unread(0, 1);
}

static void a_partition_that_brings_nothing_holds_up_no_other_for_long(void **state)
{
    (void)state;
    begin_with_a_silent_partition();
    assert_read("");
    world.now_ms += TURN_MS - 1;
    assert_read("");
    assert_int_equal(world.warnings, 0);
    world.now_ms += 1;
    assert_read("0/0 0/1");
    assert_int_equal(world.warnings, 1);
    assert_int_equal(reread_letters(reread), 2);
    add_letter(1, 2); /* of those that wait with it */
    add_letter(2, 0);
    assert_int_equal(reread_letters(reread), 4);
    reread_free(reread);
}

static void its_events_come_once_it_brings_something(void **state)
{
    (void)state;
    begin_with_a_silent_partition();
    assert_read("");
    world.now_ms += TURN_MS;
    assert_read("0/0 0/1");
    world.is_silent[1] = false;
    assert_read("1/1 1/0");
    assert_int_equal(reread_letters(reread), 0);
    reread_free(reread);
}

static void assert_next(const char *expected)
{
    const struct reread_room room = { .unread = true, .letters = true };
    struct pending_event *event = reread_next(reread, room);

    diary_begin(NULL);
    if (event)
        diary_note("%d/%d", (int)event->partition, (int)event->offset);
    assert_string_equal(diary.text, expected);
    pending_event_free(event);
}

static void it_has_its_turn_though_others_always_have_something(void **state)
{
    (void)state;
    begin_with_a_silent_partition();
    add_letter(0, 2);
    add_letter(0, 3);
    assert_next("");
    world.now_ms += TURN_MS;
    assert_next(""); /* it is set aside */
    assert_next("0/0");
    world.now_ms += TURN_MS - 1;
    assert_next("0/2");
    world.now_ms += 1;
    assert_next("");
    assert_int_equal(world.record.partition, 1);
    world.is_silent[1] = false;
    assert_next("1/1");
    reread_free(reread);
}

static void several_that_bring_nothing_have_their_turns_one_after_the_other(void **state)
{
    (void)state;
    begin_with_a_silent_partition();
    world.is_silent[2] = true;
    add_letter(2, 0);
    assert_read("");
    for (int i = 0; i < 4; i++) {
        world.now_ms += TURN_MS;
        (void)read_all();
        assert_int_equal(world.record.partition, i % 2 == 0 ? 2 : 1);
    }
    reread_free(reread);
}

static void it_is_logged_once_a_minute(void **state)
{
    (void)state;
    begin_with_a_silent_partition();
    (void)read_all();
    for (int64_t ms = TURN_MS; ms < TEN_MINUTES_MS; ms += TURN_MS) {
        world.now_ms += TURN_MS;
        (void)read_all();
    }
    assert_in_range(world.warnings, 8, 10);
    reread_free(reread);
}

static void with_new_settings_it_is_asked_like_the_others(void **state)
{
    (void)state;
    begin_with_a_silent_partition();
    assert_read("");
    world.now_ms += TURN_MS;
    assert_read("0/0 0/1");
    world.is_silent[1] = false;
    reread_renew(reread);
    add_letter(0, 2);
    assert_read("1/0 1/1 0/2");
    reread_free(reread);
}

static void events_of_one_partition_are_read_together_but_not_without_end(void **state)
{
    enum { MANY = 150 };

    (void)state;
    begin();
    for (int64_t i = 0; i < MANY; i++)
        add_unread(0, i);
    add_unread(1, 0);
    const struct reread_room room = { .unread = true, .letters = true };
    for (int i = 0; i <= MANY; i++) {
        struct pending_event *event = reread_next(reread, room);

        assert_non_null(event);
        assert_int_equal(event->partition, i == 100 ? 1 : 0);
        pending_event_free(event);
    }
    reread_free(reread);
}

static void events_of_a_partition_that_was_given_up_are_dropped(void **state)
{
    struct pending_event_list dropped = { 0 };

    (void)state;
    begin_with_a_silent_partition();
    add_unread(1, 2);
    assert_read("");
    world.now_ms += TURN_MS;
    assert_read("0/0 0/1");
    reread_drop(reread, 1, &dropped);
    assert_int_equal(dropped.n, 1);
    reread_drop_letters(reread, 1, EPOCH, &dropped);
    assert_int_equal(dropped.n, 3);
    assert_int_equal(reread_letters(reread), 0);
    pending_event_list_clear(&dropped);
    reread_free(reread);
}

/* One is being looked for, one is on the shelf; their records may be gone from Kafka. */
static void letters_stay_where_nobody_else_may_have_them(void **state)
{
    struct pending_event_list dropped = { 0 };

    (void)state;
    begin_with_a_silent_partition();
    add_unread(1, 2);
    assert_read("");
    reread_drop(reread, 1, &dropped);
    reread_drop_letters(reread, 1, EPOCH + 1, &dropped);
    assert_int_equal(dropped.n, 1);
    world.is_silent[1] = false;
    assert_read("1/0 1/1 0/0 0/1");
    pending_event_list_clear(&dropped);
    reread_free(reread);
}

static void adopt(int64_t offset, bool expected)
{
    const struct pending_event again = { .partition = 1, .offset = offset, .epoch = EPOCH + 1 };

    assert_int_equal(reread_adopt(reread, &again), expected);
}

static void a_letter_that_stayed_stands_for_its_event_that_comes_again(void **state)
{
    struct pending_event_list dropped = { 0 };

    (void)state;
    begin_with_a_silent_partition();
    add_letter(1, 2);
    assert_read("");
    reread_drop(reread, 1, &dropped);
    adopt(0, true);
    adopt(1, true);
    adopt(3, false);
    reread_drop_letters(reread, 1, EPOCH + 1, &dropped);
    assert_int_equal(dropped.n, 2);
    assert_int_equal(reread_letters(reread), 2); /* 1/2, and 0/0 */
    adopt(2, true);
    pending_event_list_clear(&dropped);
    reread_free(reread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_partition_that_brings_nothing_holds_up_no_other_for_long),
        cmocka_unit_test(its_events_come_once_it_brings_something),
        cmocka_unit_test(it_has_its_turn_though_others_always_have_something),
        cmocka_unit_test(several_that_bring_nothing_have_their_turns_one_after_the_other),
        cmocka_unit_test(it_is_logged_once_a_minute),
        cmocka_unit_test(with_new_settings_it_is_asked_like_the_others),
        cmocka_unit_test(events_of_one_partition_are_read_together_but_not_without_end),
        cmocka_unit_test(events_of_a_partition_that_was_given_up_are_dropped),
        cmocka_unit_test(letters_stay_where_nobody_else_may_have_them),
        cmocka_unit_test(a_letter_that_stayed_stands_for_its_event_that_comes_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
