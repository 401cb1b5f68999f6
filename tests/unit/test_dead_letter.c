#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/strbuf.h"
#include "worker/ingest/dead_letter.h"

#define HEADER(name_, text)                                               \
    {                                                                     \
        .name = (name_), .value = (text), .value_bytes = sizeof(text) - 1 \
    }
#define EVENT "{\"segment_id\":\"s\"}"

static const struct record_header headers[] = {
    HEADER("ce_id", "e-1"),
    HEADER("traceparent", "00-x"),
    { .name = "null" },
};

static const struct record event = {
    .topic = "segment-refresh",
    .partition = 3,
    .offset = 41,
    .timestamp_ms = 1764000000000,
    .key = "s",
    .key_bytes = 1,
    .value = EVENT,
    .value_bytes = sizeof EVENT - 1,
    .headers = headers,
    .headers_n = 3,
};

/* All headers in order: "name=text; name=text; ". */
static void headers_are(const struct record *record, const char *expected)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(8192);

    for (size_t i = 0; i < record->headers_n; i++) {
        const struct record_header *header = &record->headers[i];
        strbuf_addf(&text, "%s=%.*s; ", header->name, (int)header->value_bytes,
                    header->value ? (const char *)header->value : "");
    }
    assert_string_equal(text.data, expected);
}

static void value_is(const struct record *record, const char *expected)
{
    assert_int_equal(record->value_bytes, strlen(expected));
    assert_memory_equal(record->value, expected, strlen(expected));
}

#define KEPT "ce_id=e-1; traceparent=00-x; null=; "
#define FROM                                                                 \
    "__connect.errors.topic=segment-refresh; __connect.errors.partition=3; " \
    "__connect.errors.offset=41; "

static const struct dead_letter failed = { .record = &event,
                                           .reason = "list_gone",
                                           .message = "list L is gone",
                                           .exports = "a",
                                           .run_id = 17 };

static void a_letter_keeps_the_record_and_says_why(void **state)
{
    CLEANUP(record_freep) struct record *letter = dead_letter_build(&failed, DEAD_LETTER_WHOLE);

    (void)state;
    assert_non_null(letter);
    assert_int_equal(letter->timestamp_ms, event.timestamp_ms);
    assert_memory_equal(letter->key, "s", 1);
    value_is(letter, EVENT);
    headers_are(letter, KEPT FROM "__connect.errors.exception.class.name=list_gone; "
                                  "__connect.errors.exception.message=list L is gone; "
                                  "x-klaviyo-worker-reason=list_gone; "
                                  "x-klaviyo-worker-exports=a; x-klaviyo-worker-run-id=17; "
                                  "x-klaviyo-worker-attempts=1; ");
}

static void an_invalid_event_names_no_run_and_no_export(void **state)
{
    const struct dead_letter invalid = { .record = &event,
                                         .reason = "event_invalid",
                                         .message = "full is neither true nor false" };
    CLEANUP(record_freep) struct record *letter = dead_letter_build(&invalid, DEAD_LETTER_WHOLE);

    (void)state;
    headers_are(letter,
                KEPT FROM "__connect.errors.exception.class.name=event_invalid; "
                          "__connect.errors.exception.message=full is neither true nor false; "
                          "x-klaviyo-worker-reason=event_invalid; x-klaviyo-worker-attempts=1; ");
}

static void a_second_death_replaces_the_first(void **state)
{
    CLEANUP(record_freep) struct record *first = dead_letter_build(&failed, DEAD_LETTER_WHOLE);
    const struct dead_letter again = { .record = first,
                                       .reason = "event_invalid",
                                       .message = "broken" };
    first->topic = "segment-refresh";
    first->offset = 99;
    CLEANUP(record_freep) struct record *second = dead_letter_build(&again, DEAD_LETTER_WHOLE);

    (void)state;
    headers_are(second, KEPT "__connect.errors.topic=segment-refresh; "
                             "__connect.errors.partition=3; __connect.errors.offset=99; "
                             "__connect.errors.exception.class.name=event_invalid; "
                             "__connect.errors.exception.message=broken; "
                             "x-klaviyo-worker-reason=event_invalid; "
                             "x-klaviyo-worker-attempts=2; ");
}

static void a_letter_too_large_says_how_long_its_value_was(void **state)
{
    CLEANUP(record_freep)
    struct record *letter = dead_letter_build(&failed, DEAD_LETTER_WITHOUT_VALUE);
    struct dead_letter_view view;
    struct error err = ERROR_INIT;

    (void)state;
    assert_null(letter->value);
    const struct record_header *bytes = record_header_find(letter, "x-klaviyo-worker-value-bytes");
    assert_non_null(bytes);
    assert_memory_equal(bytes->value, "18", 2);
    dead_letter_read(letter, &view);
    assert_true(view.value_missing);
    assert_null(dead_letter_revive(letter, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
}

/* It would be an event that says nothing. */
static void a_letter_without_its_value_is_not_replayed_whatever_exports_it_concerns(void **state)
{
    static const char *const exports[] = { NULL, "a", "a,b" };

    (void)state;
    for (size_t i = 0; i < sizeof exports / sizeof exports[0]; i++) {
        struct dead_letter of = failed;
        struct error err = ERROR_INIT;

        of.exports = exports[i];
        CLEANUP(record_freep)
        struct record *letter = dead_letter_build(&of, DEAD_LETTER_WITHOUT_VALUE);
        assert_null(dead_letter_revive(letter, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_non_null(strstr(err.text, "publish the event again"));
    }
}

static void a_letter_whose_headers_are_too_large_says_how_long_they_were(void **state)
{
    static const struct record_header own[] = { { "huge", "12345", 5 }, { "none", NULL, 0 } };
    struct record from = event;
    struct dead_letter letter = failed;

    (void)state;
    from.headers = own;
    from.headers_n = 2;
    letter.record = &from;
    CLEANUP(record_freep)
    struct record *short_letter = dead_letter_build(&letter, DEAD_LETTER_WITHOUT_HEADERS);
    assert_null(short_letter->value);
    assert_null(short_letter->key);
    assert_int_equal(short_letter->timestamp_ms, event.timestamp_ms);
    headers_are(short_letter, FROM "__connect.errors.exception.class.name=list_gone; "
                                   "__connect.errors.exception.message=list L is gone; "
                                   "x-klaviyo-worker-reason=list_gone; "
                                   "x-klaviyo-worker-exports=a; x-klaviyo-worker-run-id=17; "
                                   "x-klaviyo-worker-attempts=1; x-klaviyo-worker-value-bytes=18; "
                                   "x-klaviyo-worker-header-bytes=13; ");
}

static void a_letter_can_be_read_back(void **state)
{
    CLEANUP(record_freep) struct record *letter = dead_letter_build(&failed, DEAD_LETTER_WHOLE);
    struct dead_letter_view view;

    (void)state;
    dead_letter_read(letter, &view);
    assert_int_equal(view.topic.n, strlen("segment-refresh"));
    assert_memory_equal(view.reason.at, "list_gone", view.reason.n);
    assert_int_equal(view.partition, 3);
    assert_int_equal(view.offset, 41);
    assert_int_equal(view.run_id, 17);
    assert_int_equal(view.attempts, 1);
    assert_false(view.value_missing);
}

static void what_is_no_letter_reads_as_nothing(void **state)
{
    struct dead_letter_view view;

    (void)state;
    dead_letter_read(&event, &view);
    assert_null(view.reason.at);
    assert_int_equal(view.partition, -1);
    assert_int_equal(view.offset, -1);
    assert_int_equal(view.run_id, 0);
    assert_int_equal(view.attempts, 0);
}

static void replay_restricts_the_event_where_one_export_failed(void **state)
{
    static const struct record_header structured[] = {
        HEADER("content-type", "application/cloudevents+json; charset=utf-8"),
    };
    static const char envelope[] = "{\"id\":\"1\",\"data\":" EVENT "}";
    struct record whole = event;
    struct dead_letter letter = failed;
    struct error err = ERROR_INIT;

    (void)state;
    CLEANUP(record_freep)
    struct record *plain_letter = dead_letter_build(&letter, DEAD_LETTER_WHOLE);
    CLEANUP(record_freep) struct record *plain = dead_letter_revive(plain_letter, &err);
    value_is(plain, "{\"segment_id\":\"s\",\"export_id\":\"a\"}");
    assert_int_equal(plain->headers_n, plain_letter->headers_n);
    assert_int_equal(plain->timestamp_ms,
                     -1); /* of a letter of last week the topic might rid itself */

    letter.exports = "a,b";
    CLEANUP(record_freep) struct record *two_letter = dead_letter_build(&letter, DEAD_LETTER_WHOLE);
    CLEANUP(record_freep) struct record *two = dead_letter_revive(two_letter, &err);
    value_is(two, EVENT);

    whole.headers = structured;
    whole.headers_n = 1;
    whole.value = envelope;
    whole.value_bytes = sizeof envelope - 1;
    letter = (struct dead_letter){
        .record = &whole, .reason = "r", .message = "m", .exports = "a", .run_id = 1
    };
    CLEANUP(record_freep)
    struct record *inner_letter = dead_letter_build(&letter, DEAD_LETTER_WHOLE);
    CLEANUP(record_freep) struct record *inner = dead_letter_revive(inner_letter, &err);
    value_is(inner, "{\"id\":\"1\",\"data\":{\"segment_id\":\"s\",\"export_id\":\"a\"}}");
}

/* The header of a letter as it is found, and what becomes of the event. */
static void the_names_in_the_header_are_read_as_they_were_written(void **state)
{
    static const struct {
        const char *names;
        const char *value; /* NULL: refused */
    } cases[] = {
        { "a", "{\"segment_id\":\"s\",\"export_id\":\"a\"}" },
        { "\"EU, UK\"", "{\"segment_id\":\"s\",\"export_id\":\"EU, UK\"}" },
        { "\"EU, UK\",b", EVENT },
        { "b,\"EU, UK\"", EVENT },
        { "\"EU, UK\",\"b\"", EVENT },
        { "\"a \\\"b\\\"\"", "{\"segment_id\":\"s\",\"export_id\":\"a \\\"b\\\"\"}" },
        { "\"a\\u0085\"", "{\"segment_id\":\"s\",\"export_id\":\"a\\u0085\"}" },
        { "the \"old\" one", "{\"segment_id\":\"s\",\"export_id\":\"the \\\"old\\\" one\"}" },
        { "\"half", "{\"segment_id\":\"s\",\"export_id\":\"\\\"half\"}" },
        { "\"x\" y", "{\"segment_id\":\"s\",\"export_id\":\"\\\"x\\\" y\"}" },
        { "", NULL },
        { "a,", NULL },
        { "\xff\xfe", NULL },
        { "\"\"", NULL },
        { "\"\\ud800\"", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct record_header header = { "x-klaviyo-worker-exports", cases[i].names,
                                              strlen(cases[i].names) };
        struct record letter = event;
        struct error err = ERROR_INIT;

        letter.headers = &header;
        letter.headers_n = 1;
        CLEANUP(record_freep) struct record *revived = dead_letter_revive(&letter, &err);
        if (cases[i].value) {
            assert_non_null(revived);
            value_is(revived, cases[i].value);
        } else {
            assert_null(revived);
            assert_int_equal(err.kind, ERROR_INPUT);
        }
    }
}

static void not_a_byte_is_changed_but_the_one_member(void **state)
{
    static const struct {
        const char *type, *value, *restricted;
    } cases[] = {
        { "x", " { \"n\" : 1e400 ,\"m\":[ 0.10 ]}\n",
          " { \"n\" : 1e400 ,\"m\":[ 0.10 ],\"export_id\":\"a\"}\n" },
        { "x", "{ }", "{ \"export_id\":\"a\"}" },
        { "x", "{\"export_id\" : null , \"n\":18446744073709551616}",
          "{\"export_id\" : \"a\" , \"n\":18446744073709551616}" },
        { "x", "{\"export_id\":\"b\",\"export\\u005fid\":{\"c\":[]}}",
          "{\"export_id\":\"b\",\"export\\u005fid\":\"a\"}" },
        { " application/CloudEvents+json", "{\"export_id\":1,\"data\": {\"d\":\"}\"} , \"e\":{}}",
          "{\"export_id\":1,\"data\": {\"d\":\"}\",\"export_id\":\"a\"} , \"e\":{}}" },
        { "application/cloudevents+json-not", "{\"data\":{}}",
          "{\"data\":{},\"export_id\":\"a\"}" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct record_header both[] = {
            { "content-type", cases[i].type, strlen(cases[i].type) },
            HEADER("x-klaviyo-worker-exports", "a"),
        };
        struct record letter = event;
        struct error err = ERROR_INIT;

        letter.headers = both;
        letter.headers_n = 2;
        letter.value = cases[i].value;
        letter.value_bytes = strlen(cases[i].value);
        CLEANUP(record_freep) struct record *revived = dead_letter_revive(&letter, &err);
        assert_non_null(revived);
        value_is(revived, cases[i].restricted);
    }
}

static void a_letter_whose_value_is_no_event_is_refused(void **state)
{
    static const char *const values[] = { "", "[1]", "{", "{\"data\":7}" };
    static const struct record_header both[] = {
        HEADER("content-type", "application/cloudevents+json"),
        HEADER("x-klaviyo-worker-exports", "a"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct record letter = event;
        struct error err = ERROR_INIT;

        letter.headers = both;
        letter.headers_n = 2;
        letter.value = values[i];
        letter.value_bytes = strlen(values[i]);
        assert_null(dead_letter_revive(&letter, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
    }
}

static void no_word_brings_a_control_character_into_a_header_of_ours(void **state)
{
    const struct dead_letter said = { .record = &event,
                                      .reason = "answer_unexpected",
                                      .message = "bad\r\nX: \x1b[31m\xc2\x9b \xff",
                                      .exports = "a\x7f" };
    CLEANUP(record_freep) struct record *letter = dead_letter_build(&said, false);
    struct dead_letter_view view;

    (void)state;
    dead_letter_read(letter, &view);
    assert_true(bytes_are(view.message, "bad\\u000d\\u000aX: \\u001b[31m\\u009b \xef\xbf\xbd"));
    assert_true(bytes_are(view.exports, "a\\u007f"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_keeps_the_record_and_says_why),
        cmocka_unit_test(an_invalid_event_names_no_run_and_no_export),
        cmocka_unit_test(a_second_death_replaces_the_first),
        cmocka_unit_test(a_letter_too_large_says_how_long_its_value_was),
        cmocka_unit_test(a_letter_without_its_value_is_not_replayed_whatever_exports_it_concerns),
        cmocka_unit_test(a_letter_whose_headers_are_too_large_says_how_long_they_were),
        cmocka_unit_test(a_letter_can_be_read_back),
        cmocka_unit_test(what_is_no_letter_reads_as_nothing),
        cmocka_unit_test(replay_restricts_the_event_where_one_export_failed),
        cmocka_unit_test(the_names_in_the_header_are_read_as_they_were_written),
        cmocka_unit_test(not_a_byte_is_changed_but_the_one_member),
        cmocka_unit_test(a_letter_whose_value_is_no_event_is_refused),
        cmocka_unit_test(no_word_brings_a_control_character_into_a_header_of_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
