#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/clock.h"
#include "common/parse.h"

/* Each text is what it is parsed from: PostgreSQL reads both the same. */
static void a_time_is_written_as_it_is_read(void **state)
{
    static const char *const texts[] = {
        "0001-01-01T00:00:00.000000Z", "0050-01-01T00:00:00.000000Z", "0999-12-31T23:59:59.999999Z",
        "1969-12-31T23:59:59.500000Z", "1969-12-31T23:59:59.000000Z", "1970-01-01T00:00:00.000000Z",
        "2026-11-24T08:00:47.123456Z", "9999-12-31T23:59:59.999999Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[CLOCK_TEXT_BYTES];
        int64_t us;

        assert_true(parse_rfc3339(texts[i], strlen(texts[i]), &us));
        clock_format_us(us, text);
        assert_string_equal(text, texts[i]);
    }
}

static void no_number_writes_beyond_the_text(void **state)
{
    char text[CLOCK_TEXT_BYTES];

    (void)state;
    clock_format_us(INT64_MAX, text);
    assert_true(strlen(text) < sizeof text);
    clock_format_us(INT64_MIN, text);
    assert_true(strlen(text) < sizeof text);
}

/* A record's time may be in another unit, or missing. */
static void milliseconds_from_outside_are_a_time_or_none(void **state)
{
    static const int64_t none[] = { -1, INT64_MIN, 253402300800000, 1764230400000000000,
                                    INT64_MAX };
    char text[CLOCK_TEXT_BYTES];

    (void)state;
    assert_true(clock_format_ms(0, text));
    assert_string_equal(text, "1970-01-01T00:00:00.000000Z");
    assert_true(clock_format_ms(253402300799999, text));
    assert_string_equal(text, "9999-12-31T23:59:59.999000Z");
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_false(clock_format_ms(none[i], text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_is_written_as_it_is_read),
        cmocka_unit_test(no_number_writes_beyond_the_text),
        cmocka_unit_test(milliseconds_from_outside_are_a_time_or_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
