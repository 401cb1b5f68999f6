#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ingest/event.h"
#include "worker/ingest/traceparent.h"
#include "worker/klaviyo/header.h"

#define TAIL "-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define TRACE "00" TAIL
#define ZEROS "00000000000000000000000000000000"
#define EVENT \
    "{\"segment_id\":\"s\",\"refresh_id\":\"r\",\"refreshed_at\":\"2026-11-24T08:00:47Z\"}"

static void what_is_kept_is_55_characters_or_nothing(void **state)
{
    static const struct {
        const char *text;
        const char *kept; /* NULL: ignored */
    } cases[] = {
        { TRACE, TRACE },
        { "01" TAIL, "01" TAIL },
        { "01" TAIL, "01" TAIL },
        { "01" TAIL "-", NULL },
        { "cc" TAIL "-what-the-future-brings", NULL },
        { "01" TAIL "-\r\nX-Evil: injected", NULL },
        { TRACE "-", NULL },
        { TRACE "-\r\nX-Evil: injected", NULL },
        { TRACE "\r", NULL },
        { TRACE " ", NULL },
        { "01" TAIL "more", NULL },
        { "ff" TAIL, NULL },
        { "00-" ZEROS "-b7ad6b7169203331-01", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", NULL },
        { "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", NULL },
        { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-\r\n", NULL },
        { " " TRACE, NULL },
        { "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char kept[TRACEPARENT_CHARACTERS + 1] = "untouched";
        bool is_one = traceparent_parse(cases[i].text, strlen(cases[i].text), kept);

        assert_int_equal(is_one, cases[i].kept != NULL);
        assert_string_equal(kept, is_one ? cases[i].kept : "untouched");
    }
}

/* A xorshift of its own, so that a failure can be repeated. */
static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* A good one with some bytes replaced and something behind it: near enough to pass by mistake. */
static size_t mutate(uint64_t *seed, char bytes[200])
{
    size_t n = draw(seed) % 4 ? 55 : 55 + draw(seed) % 140;

    for (size_t i = 0; i < 55; i++)
        bytes[i] = TRACE[i];
    for (size_t i = 55; i < n; i++)
        bytes[i] = (char)draw(seed);
    if (draw(seed) % 2)
        bytes[1] = '1';
    if (n > 55 && draw(seed) % 2)
        bytes[55] = '-';
    for (uint64_t flips = draw(seed) % 3; flips > 0; flips--)
        bytes[draw(seed) % n] = (char)draw(seed);
    return n;
}

static void expect_safe(const char *trace)
{
    char header[128];

    assert_int_equal(strlen(trace), TRACEPARENT_CHARACTERS);
    for (const char *c = trace; *c; c++)
        assert_non_null(strchr("0123456789abcdef-", *c));
    assert_true(header_format(header, sizeof header, "traceparent", trace));
    assert_true(header_value_is_safe(header));
}

/* Nothing that came from outside reaches a header with a control character in it. */
static void no_event_brings_a_control_character_into_a_header(void **state)
{
    uint64_t seed = 20261125;
    int kept = 0;

    (void)state;
    for (int round = 0; round < 30000; round++) {
        char bytes[200];
        const struct record_header header = { round % 2 ? "traceparent" : "ce_traceparent", bytes,
                                              mutate(&seed, bytes) };
        const struct record record = { .topic = "t",
                                       .value = EVENT,
                                       .value_bytes = sizeof EVENT - 1,
                                       .headers = &header,
                                       .headers_n = 1 };
        CLEANUP(event_release) struct event event = EVENT_INIT;
        struct error err = ERROR_INIT;

        assert_int_equal(event_parse(&record, &event, &err), EVENT_VALID);
        if (!*event.traceparent)
            continue;
        expect_safe(event.traceparent);
        kept++;
    }
    assert_true(kept > 2000); /* else nothing was tried */
}

/* The wall itself, for whatever got past the checks in front of it. */
static void no_value_brings_a_control_character_past_the_wall(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int round = 0; round < 30000; round++) {
        char value[24] = "", header[32];
        size_t n = draw(&seed) % sizeof value;

        for (size_t i = 0; i < n; i++)
            value[i] = (char)(draw(&seed) % 8 ? 'a' + draw(&seed) % 26 : draw(&seed));
        value[sizeof value - 1] = '\0';
        if (!header_format(header, sizeof header, "name", value)) {
            assert_string_equal(header, "");
            continue;
        }
        for (const char *c = header; *c; c++)
            assert_in_range(*c, ' ', '~');
        assert_string_equal(header + strlen("name: "), value);
    }
}

static void a_header_that_does_not_fit_is_none(void **state)
{
    char header[16];

    (void)state;
    assert_true(header_format(header, sizeof header, "name", "123456789"));
    assert_false(header_format(header, sizeof header, "name", "1234567890"));
    assert_string_equal(header, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_55_characters_or_nothing),
        cmocka_unit_test(no_event_brings_a_control_character_into_a_header),
        cmocka_unit_test(no_value_brings_a_control_character_past_the_wall),
        cmocka_unit_test(a_header_that_does_not_fit_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
