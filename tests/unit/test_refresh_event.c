#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "worker/admin/refresh_event.h"
#include "worker/ingest/event.h"
#include "worker/store/guard.h"

/* Written by `publish`, read as the service reads it. */
static void round_trip(struct refresh_event *written, struct event *read)
{
    struct error err = ERROR_INIT;

    refresh_event_init(written);
    CLEANUP(record_freep) struct record *record = refresh_event_record(written);
    assert_non_null(record);
    assert_int_equal(record->key_bytes, strlen(written->segment_id));
    assert_memory_equal(record->key, written->segment_id, record->key_bytes);
    if (event_parse(record, read, &err) != EVENT_VALID)
        fail_msg("%s", err.text);
}

static void what_publish_writes_the_service_reads(void **state)
{
    CLEANUP(event_release) struct event read = EVENT_INIT;
    struct refresh_event written = { .segment_id = "loyal" };
    int64_t before_us = clock_utc_us();

    (void)state;
    round_trip(&written, &read);
    assert_string_equal(read.segment_id, "loyal");
    assert_string_equal(read.source, REFRESH_EVENT_SOURCE);
    assert_string_equal(read.id, written.id);
    assert_string_equal(read.refresh_id, written.id);
    assert_int_equal(read.trigger, EVENT_TRIGGER_ON_DEMAND);
    assert_null(read.export_id);
    assert_false(read.full || read.confirm_removals);
    assert_true(read.refreshed_at_us >= before_us && read.refreshed_at_us <= clock_utc_us());
}

static void every_member_arrives_whatever_its_characters(void **state)
{
    CLEANUP(event_release) struct event read = EVENT_INIT;
    struct refresh_event written = { .segment_id = "größe \"XL\" \\ 100 %",
                                     .export_name = "名前, {\"}",
                                     .full = true,
                                     .confirm_removals = true,
                                     .confirmed = GUARD_BIT(GUARD_TOO_MANY_INVALID) |
                                                  GUARD_BIT(GUARD_LIST_STARTS_FLOWS) };

    (void)state;
    round_trip(&written, &read);
    assert_string_equal(read.segment_id, written.segment_id);
    assert_string_equal(read.export_id, written.export_name);
    assert_true(read.full && read.confirm_removals);
    assert_int_equal(read.confirmed, written.confirmed);
}

static void an_id_is_a_uuid_and_never_the_same(void **state)
{
    struct refresh_event first = { .segment_id = "s" }, second = first;

    (void)state;
    refresh_event_init(&first);
    refresh_event_init(&second);
    assert_int_equal(strlen(first.id), 36);
    assert_int_equal(first.id[14], '4');
    assert_non_null(memchr("89ab", first.id[19], 4));
    assert_int_equal(strspn(first.id, "0123456789abcdef-"), 36);
    assert_string_not_equal(first.id, second.id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_publish_writes_the_service_reads),
        cmocka_unit_test(every_member_arrives_whatever_its_characters),
        cmocka_unit_test(an_id_is_a_uuid_and_never_the_same),
    };
    return cmocka_run_group_tests_name("refresh_event", tests, NULL, NULL);
}
