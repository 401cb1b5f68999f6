#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "worker/ingest/event.h"
#include "worker/store/guard.h"

#define LEAST "\"segment_id\":\"s\",\"refresh_id\":\"r\",\"refreshed_at\":\"2026-11-24T08:00:47Z\""
#define PLAIN "{" LEAST "}"
#define HEADER(name_, text)                                               \
    {                                                                     \
        .name = (name_), .value = (text), .value_bytes = sizeof(text) - 1 \
    }
#define MAX_HEADERS 8

/* A record as a test writes it down: headers end with one that has no name. */
struct given {
    const char *value;
    struct record_header headers[MAX_HEADERS];
};

static struct record record_of(const struct given *given)
{
    struct record record = { .topic = "segment-refresh",
                             .value = given->value,
                             .value_bytes = strlen(given->value),
                             .headers = given->headers };

    while (record.headers_n < MAX_HEADERS && given->headers[record.headers_n].name)
        record.headers_n++;
    return record;
}

static enum event_verdict parse(const struct given *given, struct event *event, struct error *err)
{
    struct record record = record_of(given);

    return event_parse(&record, event, err);
}

#define BINARY                                                                  \
    HEADER("ce_specversion", "1.0"), HEADER("ce_type", "segment.refreshed.v1"), \
        HEADER("ce_source", "/segments"), HEADER("ce_id", "e-1"),               \
        HEADER("content-type", "application/json")
#define STRUCTURED_TYPE HEADER("content-type", "application/cloudevents+json")
#define ENVELOPE \
    "\"specversion\":\"1.0\",\"type\":\"segment.refreshed.v1\",\"source\":\"/segments\",\"id\":\"e-1\""

static void a_plain_event_has_no_identity_of_its_own(void **state)
{
    const struct given given = { PLAIN, { HEADER("other", "x") } };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
    assert_null(event.id);
    assert_null(event.source);
    assert_string_equal(event.segment_id, "s");
    assert_string_equal(event.refresh_id, "r");
    assert_int_equal(event.refreshed_at_us, INT64_C(1795507247000000));
    assert_int_equal(event.trigger, EVENT_TRIGGER_SCHEDULE);
    assert_null(event.export_id);
    assert_false(event.full);
    assert_false(event.confirm_removals);
}

static void binary_mode_takes_its_identity_from_headers(void **state)
{
    const struct given given = {
        "{" LEAST ",\"trigger\":\"on-demand\",\"export_id\":\"x\",\"full\":true,"
        "\"confirm_removals\":true}",
        { BINARY },
    };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
    assert_string_equal(event.source, "/segments");
    assert_string_equal(event.id, "e-1");
    assert_int_equal(event.trigger, EVENT_TRIGGER_ON_DEMAND);
    assert_string_equal(event.export_id, "x");
    assert_true(event.full);
    assert_true(event.confirm_removals);
}

static void structured_mode_is_told_by_its_media_type(void **state)
{
    static const struct given cases[] = {
        { "{" ENVELOPE ",\"data\":" PLAIN "}", { STRUCTURED_TYPE } },
        { "{" ENVELOPE ",\"data\":" PLAIN "}",
          { HEADER("Content-Type", "Application/CloudEvents+JSON") } },
        { "{" ENVELOPE ",\"data\":" PLAIN "}",
          { HEADER("content-type", "application/cloudevents+json; charset=utf-8") } },
        { "{" ENVELOPE ",\"data\":" PLAIN "}",
          { HEADER("content-type", "application/cloudevents+json ;charset=UTF-8") } },
        { " {" ENVELOPE ", \"data\" : " PLAIN " }\n",
          { HEADER("content-type", " \tapplication/CLOUDEVENTS+json\t ; a=\"b\"") } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(event_release) struct event event = EVENT_INIT;
        struct error err = ERROR_INIT;

        assert_int_equal(parse(&cases[i], &event, &err), EVENT_VALID);
        assert_string_equal(event.id, "e-1");
        assert_string_equal(event.source, "/segments");
        assert_string_equal(event.segment_id, "s");
    }
}

static void optional_members_that_are_null_are_absent(void **state)
{
    const struct given given = {
        "{" LEAST ",\"trigger\":null,\"export_id\":null,\"full\":null,"
        "\"confirm_removals\":null,\"confirm\":null}",
        { { 0 } },
    };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
    assert_int_equal(event.trigger, EVENT_TRIGGER_SCHEDULE);
    assert_null(event.export_id);
    assert_false(event.full || event.confirm_removals);
    assert_int_equal(event.confirmed, 0);
}

static void guards_are_confirmed_by_their_names(void **state)
{
    const struct given given = {
        "{" LEAST ",\"confirm\":[\"size_jumped\", \"list_starts_fl\\u006fws\"]}",
        { { 0 } },
    };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
    assert_int_equal(event.confirmed,
                     GUARD_BIT(GUARD_SIZE_JUMPED) | GUARD_BIT(GUARD_LIST_STARTS_FLOWS));
}

static void what_unknown_members_hold_does_not_matter(void **state)
{
    const struct given given = {
        "{\"n\":123456789012345678901234567890,\"x\":[1e400,-1E-400,0.1e+7],\"half\":\"\\ud800\","
        "\"nul\\u0000\":\"\\u0000\",\"segment_id\":\"s\",\"refresh\\u005Fid\":\"r\","
        "\"refreshed_at\":\"2026-11-24T08:00:47Z\",\"segment_id\":\"last\",\"\":{}}",
        { { 0 } },
    };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
    assert_string_equal(event.segment_id, "last"); /* of several of one name, as it was before */
    assert_string_equal(event.refresh_id, "r");
}

static void minor_versions_of_the_envelope_are_accepted(void **state)
{
    const struct given given = { PLAIN, { BINARY, HEADER("ce_specversion", "1.1") } };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
}

static void a_null_value_is_a_tombstone_and_an_empty_one_is_not(void **state)
{
    struct record record = { .topic = "t", .value = NULL };
    struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(event_parse(&record, &event, &err), EVENT_TOMBSTONE);
    record.value = "";
    assert_int_equal(event_parse(&record, &event, &err), EVENT_INVALID);
}

static void an_invalid_event_says_which_member_and_no_value(void **state)
{
    static const struct {
        struct given given;
        const char *text;
    } cases[] = {
        { { "secret@example.com", { { 0 } } }, "the value is not JSON (line 1, column 1)" },
        { { "{\n \"\xc3\xa9\": secret}", { { 0 } } }, "the value is not JSON (line 2, column 7)" },
        { { "[1]", { { 0 } } }, "the value is not a JSON object" },
        { { "{}", { { 0 } } }, "segment_id is missing" },
        { { PLAIN "x", { { 0 } } }, "the value is not JSON (line 1, column 74)" },
        { { "{" LEAST ",\"trigger\":\"secret@example.com\"}", { { 0 } } },
          "trigger is neither schedule nor on-demand" },
        { { "{\"segment_id\":7}", { { 0 } } }, "segment_id is not a string" },
        { { "{\"segment_id\":null}", { { 0 } } }, "segment_id is missing" },
        { { "{\"segment_id\":\"\\ud800\"}", { { 0 } } }, "segment_id is not a string" },
        { { "{" LEAST ",\"confirm\":\"size_jumped\"}", { { 0 } } }, "confirm is not an array" },
        { { "{" LEAST ",\"confirm\":[\"size_jumped\",7]}", { { 0 } } },
          "confirm holds something that is not a string" },
        { { PLAIN, { BINARY, HEADER("ce_type", "segment.refreshed.v2") } },
          "ce_type is not segment.refreshed.v1, the only type known" },
        { { PLAIN, { BINARY, HEADER("ce_specversion", "2.0") } },
          "ce_specversion is a version of CloudEvents other than 1" },
        { { PLAIN, { HEADER("ce_type", "segment.refreshed.v1") } },
          "ce_specversion is missing, empty or not a string" },
        { { PLAIN, { BINARY, HEADER("ce_id", "") } }, "ce_id is missing, empty or not a string" },
        { { PLAIN, { BINARY, { .name = "ce_source" } } },
          "ce_source is missing, empty or not a string" },
        { { PLAIN, { BINARY, HEADER("ce_id", "a\0b") } }, "ce_id is not UTF-8 text" },
        { { PLAIN, { BINARY, HEADER("ce_id", "\xC0\x80") } }, "ce_id is not UTF-8 text" },
        { { "{" ENVELOPE "}", { STRUCTURED_TYPE } }, "data is missing" },
        { { "{" ENVELOPE ",\"data\":\"x\"}", { STRUCTURED_TYPE } }, "data is not a JSON object" },
        { { "{\"specversion\":1}", { STRUCTURED_TYPE } },
          "specversion is missing, empty or not a string" },
        { { "[" PLAIN "]", { HEADER("content-type", "application/cloudevents-batch+json") } },
          "content-type is a batch of events: send one event a record" },
        { { "{\"segment_id\":\"s\",\"refresh_id\":\"r\","
            "\"refreshed_at\":\"0000-11-24T08:00:47Z\"}",
            { { 0 } } },
          "refreshed_at is not in the years 1 to 9999" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event event = EVENT_INIT;
        struct error err = ERROR_INIT;

        assert_int_equal(parse(&cases[i].given, &event, &err), EVENT_INVALID);
        assert_string_equal(err.text, cases[i].text);
    }
}

static void a_value_may_be_64_kib_and_not_a_byte_more(void **state)
{
    static char value[EVENT_VALUE_MAX_BYTES + 1];
    struct record record = { .topic = "t", .value = value, .value_bytes = EVENT_VALUE_MAX_BYTES };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    memset(value, ' ', sizeof value);
    memcpy(value, PLAIN, sizeof PLAIN - 1);
    assert_int_equal(event_parse(&record, &event, &err), EVENT_VALID);
    event_release(&event);
    record.value_bytes++;
    assert_int_equal(event_parse(&record, &event, &err), EVENT_INVALID);
}

static void an_identity_fits_an_index_entry(void **state)
{
    static char id[EVENT_ATTRIBUTE_MAX_BYTES + 1];
    struct given given = {
        PLAIN,
        { BINARY, { .name = "ce_id", .value = id, .value_bytes = EVENT_ATTRIBUTE_MAX_BYTES } }
    };
    CLEANUP(event_release) struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    memset(id, 'x', sizeof id);
    assert_int_equal(parse(&given, &event, &err), EVENT_VALID);
    event_release(&event);
    given.headers[5].value_bytes++;
    assert_int_equal(parse(&given, &event, &err), EVENT_INVALID);
}

#define TAIL "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define TRACE "0" TAIL

static void a_trace_is_kept_where_it_is_one(void **state)
{
    static const struct {
        struct given given;
        const char *trace;
    } cases[] = {
        { { PLAIN, { HEADER("traceparent", TRACE) } }, TRACE },
        { { PLAIN, { BINARY, HEADER("ce_traceparent", TRACE) } }, TRACE },
        { { "{" ENVELOPE ",\"traceparent\":\"" TRACE "\",\"data\":" PLAIN "}",
            { STRUCTURED_TYPE } },
          TRACE },
        { { "{" ENVELOPE ",\"traceparent\":\"\\u0030" TAIL "\",\"data\":" PLAIN "}",
            { STRUCTURED_TYPE } },
          TRACE },
        { { "{" ENVELOPE ",\"traceparent\":\"" TRACE "-\\r\\nX-Evil: 1\",\"data\":" PLAIN "}",
            { STRUCTURED_TYPE } },
          "" },
        { { "{" ENVELOPE ",\"traceparent\":7,\"data\":" PLAIN "}", { STRUCTURED_TYPE } }, "" },
        { { PLAIN, { HEADER("traceparent", "00-short") } }, "" },
        { { PLAIN, { HEADER("traceparent", TRACE "-\r\nX-Evil: injected") } }, "" },
        { { PLAIN, { HEADER("traceparent", "00-short"), HEADER("ce_traceparent", TRACE) } },
          TRACE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(event_release) struct event event = EVENT_INIT;
        struct error err = ERROR_INIT;

        assert_int_equal(parse(&cases[i].given, &event, &err), EVENT_VALID);
        assert_string_equal(event.traceparent, cases[i].trace);
    }
}

static void earlier_deaths_are_counted_from_the_header(void **state)
{
    static const struct {
        struct record_header header;
        int attempts;
    } cases[] = {
        { HEADER("x-klaviyo-worker-attempts", "3"), 3 },
        { HEADER("x-klaviyo-worker-attempts", ""), 0 },
        { HEADER("x-klaviyo-worker-attempts", "-1"), 0 },
        { HEADER("x-klaviyo-worker-attempts", "many"), 0 },
        { HEADER("x-klaviyo-worker-attempts", "99999999999999999999"), 0 },
        { { .name = "x-klaviyo-worker-attempts" }, 0 },
        { HEADER("other", "3"), 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct record record = { .topic = "t", .headers = &cases[i].header, .headers_n = 1 };

        assert_int_equal(event_attempts(&record), cases[i].attempts);
    }
}

static enum event_verdict parse_file(const char *folder, const char *name, struct error *err)
{
    static char value[EVENT_VALUE_MAX_BYTES];
    char path[1024];
    struct record record = { .topic = "t", .value = value };
    CLEANUP(event_release) struct event event = EVENT_INIT;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    record.value_bytes = fread(value, 1, sizeof value, file);
    assert_int_equal(fclose(file), 0);
    return event_parse(&record, &event, err);
}

static size_t check_examples(const char *folder, enum event_verdict expected)
{
    size_t n = 0;
    DIR *files = opendir(folder);
    assert_non_null(files);

    for (struct dirent *file; (file = readdir(files));) {
        struct error err = ERROR_INIT;

        if (file->d_name[0] == '.')
            continue;
        if (parse_file(folder, file->d_name, &err) != expected)
            fail_msg("%s/%s: %s", folder, file->d_name, err.text);
        n++;
    }
    assert_int_equal(closedir(files), 0);
    return n;
}

static void the_published_examples_are_what_they_claim(void **state)
{
    (void)state;
    assert_true(check_examples(SOURCE_DIR "/schemas/events/valid", EVENT_VALID) >= 5);
    assert_true(check_examples(SOURCE_DIR "/schemas/events/invalid", EVENT_INVALID) >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_event_has_no_identity_of_its_own),
        cmocka_unit_test(binary_mode_takes_its_identity_from_headers),
        cmocka_unit_test(structured_mode_is_told_by_its_media_type),
        cmocka_unit_test(optional_members_that_are_null_are_absent),
        cmocka_unit_test(guards_are_confirmed_by_their_names),
        cmocka_unit_test(what_unknown_members_hold_does_not_matter),
        cmocka_unit_test(minor_versions_of_the_envelope_are_accepted),
        cmocka_unit_test(a_null_value_is_a_tombstone_and_an_empty_one_is_not),
        cmocka_unit_test(an_invalid_event_says_which_member_and_no_value),
        cmocka_unit_test(a_value_may_be_64_kib_and_not_a_byte_more),
        cmocka_unit_test(an_identity_fits_an_index_entry),
        cmocka_unit_test(a_trace_is_kept_where_it_is_one),
        cmocka_unit_test(earlier_deaths_are_counted_from_the_header),
        cmocka_unit_test(the_published_examples_are_what_they_claim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
