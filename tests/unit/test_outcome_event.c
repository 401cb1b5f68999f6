#include "worker/outcome/outcome_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct outcome plain = { .outcome_id = 5,
                                      .run_id = 17,
                                      .epoch = 3,
                                      .succeeded = true,
                                      .export_name = (char[]){ "newsletter" },
                                      .segment_id = (char[]){ "vip" },
                                      .data = (char[]){ "{\"run\": 17}" },
                                      .ended_at = (char[]){ "2026-11-24T08:03:12.905570Z" } };

static void header_is(const struct record *record, const char *name, const char *wanted)
{
    const struct record_header *header = record_header_find(record, name);

    if (!wanted) {
        assert_null(header);
        return;
    }
    assert_non_null(header);
    assert_int_equal(header->value_bytes, strlen(wanted));
    assert_memory_equal(header->value, wanted, strlen(wanted));
}

static void source_is(const char *export_name, const char *wanted)
{
    struct outcome outcome = plain;
    char name[1024];

    (void)snprintf(name, sizeof name, "%s", export_name);
    outcome.export_name = name;
    CLEANUP(record_freep) struct record *record = outcome_event_record(&outcome);
    assert_non_null(record);
    header_is(record, "ce_source", wanted);
}

static void an_outcome_is_a_cloud_event_with_the_segment_as_its_key(void **state)
{
    CLEANUP(record_freep) struct record *record = outcome_event_record(&plain);

    (void)state;
    assert_non_null(record);
    assert_int_equal(record->key_bytes, 3);
    assert_memory_equal(record->key, "vip", 3);
    assert_int_equal(record->value_bytes, strlen(plain.data));
    assert_memory_equal(record->value, plain.data, strlen(plain.data));
    assert_int_equal(record->headers_n, 6);
    header_is(record, "ce_specversion", "1.0");
    header_is(record, "ce_id", "17-3");
    header_is(record, "ce_source", "/klaviyo-worker/exports/newsletter");
    header_is(record, "ce_type", "segment.exported.v1");
    header_is(record, "ce_time", "2026-11-24T08:03:12.905570Z");
    header_is(record, "content-type", "application/json");
    header_is(record, "traceparent", NULL);
}

static void a_run_that_brought_nothing_is_of_the_other_type(void **state)
{
    struct outcome failed = plain;

    (void)state;
    failed.succeeded = false;
    CLEANUP(record_freep) struct record *record = outcome_event_record(&failed);
    header_is(record, "ce_type", "segment.export.failed.v1");
}

static void the_trace_of_the_cause_goes_with_it(void **state)
{
    static char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct outcome traced = plain;

    (void)state;
    traced.traceparent = trace;
    CLEANUP(record_freep) struct record *record = outcome_event_record(&traced);
    header_is(record, "traceparent", trace);
}

static void a_source_is_a_reference_whatever_the_name(void **state)
{
    char long_name[801] = "";
    static const char face[4] = { '\xF0', '\x9F', '\x98', '\x80' };

    (void)state;
    source_is("a-b_c.d~9", "/klaviyo-worker/exports/a-b_c.d~9");
    source_is("EU, UK", "/klaviyo-worker/exports/EU%2C%20UK");
    source_is("a/b?c#d%e", "/klaviyo-worker/exports/a%2Fb%3Fc%23d%25e");
    source_is("Käse", "/klaviyo-worker/exports/K%C3%A4se");
    source_is("line\nfeed\x1b", "/klaviyo-worker/exports/line%0Afeed%1B");
    /* 200 characters of four bytes: the longest name there is. */
    for (size_t i = 0; i < 200; i++)
        memcpy(long_name + 4 * i, face, sizeof face);
    struct outcome outcome = plain;
    outcome.export_name = long_name;
    CLEANUP(record_freep) struct record *record = outcome_event_record(&outcome);
    assert_non_null(record);
    assert_int_equal(record_header_find(record, "ce_source")->value_bytes, 24 + 800 * 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_outcome_is_a_cloud_event_with_the_segment_as_its_key),
        cmocka_unit_test(a_run_that_brought_nothing_is_of_the_other_type),
        cmocka_unit_test(the_trace_of_the_cause_goes_with_it),
        cmocka_unit_test(a_source_is_a_reference_whatever_the_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
