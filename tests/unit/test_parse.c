#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/parse.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void a_number_is_the_whole_text_within_its_bounds(void **state)
{
    static const struct {
        const char *text;
        int64_t min, max;
        bool good;
        int64_t number;
    } cases[] = {
        { "0", 0, 10, true, 0 },
        { "10", 0, 10, true, 10 },
        { "11", 0, 10, false, 0 },
        { "-1", 0, 10, false, 0 },
        { "-1", -5, 10, true, -1 },
        { "007", 0, 10, true, 7 },
        { "9223372036854775807", 0, INT64_MAX, true, INT64_MAX },
        { "9223372036854775808", 0, INT64_MAX, false, 0 },
        { "-9223372036854775808", INT64_MIN, 0, true, INT64_MIN },
        { "", 0, 10, false, 0 },
        { "-", -5, 10, false, 0 },
        { " 1", 0, 10, false, 0 },
        { "1 ", 0, 10, false, 0 },
        { "+1", 0, 10, false, 0 },
        { "1.0", 0, 10, false, 0 },
        { "0x1", 0, 10, false, 0 },
        { "1e1", 0, 10, false, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t number = 4711;

        print_message("%s\n", cases[i].text);
        assert_int_equal(parse_int64(cases[i].text, cases[i].min, cases[i].max, &number),
                         cases[i].good);
        assert_int_equal(number, cases[i].good ? cases[i].number : 4711);
    }
}

static void a_time_is_the_same_moment_in_every_notation(void **state)
{
    static const struct {
        const char *text;
        int64_t us; /* -1: refused */
    } cases[] = {
        { "1970-01-01T00:00:00Z", 0 },
        { "1970-01-01t00:00:01z", 1000000 },
        { "1970-01-01 00:00:01Z", 1000000 },
        { "2026-11-24T08:00:47.5+01:00", 1795503647500000 },
        { "2026-11-24T07:00:47.500000Z", 1795503647500000 },
        { "2026-11-23T23:00:47.5-08:00", 1795503647500000 },
        { "1970-01-01T00:00:00.1234567Z", 123456 },
        { "2024-02-29T00:00:00Z", 1709164800000000 },
        { "2016-12-31T23:59:60Z", 1483228800000000 },
        { "2023-02-29T00:00:00Z", -1 },
        { "1900-02-29T00:00:00Z", -1 },
        { "2026-13-01T00:00:00Z", -1 },
        { "2026-00-01T00:00:00Z", -1 },
        { "2026-04-31T00:00:00Z", -1 },
        { "2026-01-01T24:00:00Z", -1 },
        { "2026-01-01T00:60:00Z", -1 },
        { "2026-01-01T00:00:61Z", -1 },
        { "2026-01-01T00:00:00", -1 },
        { "2026-01-01T00:00:00.Z", -1 },
        { "2026-01-01T00:00:00+0100", -1 },
        { "2026-01-01T00:00:00+24:00", -1 },
        { "2026-01-01T00:00:00Zx", -1 },
        { "2026-1-1T00:00:00Z", -1 },
        { "2026-01-01", -1 },
        { "", -1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t us = 4711;

        print_message("%s\n", cases[i].text);
        assert_int_equal(parse_rfc3339(cases[i].text, strlen(cases[i].text), &us),
                         cases[i].us >= 0);
        assert_int_equal(us, cases[i].us >= 0 ? cases[i].us : 4711);
    }
}

static void a_time_ends_where_its_length_says(void **state)
{
    int64_t us;

    (void)state;
    assert_true(parse_rfc3339("1970-01-01T00:00:00Zjunk", 20, &us));
    assert_false(parse_rfc3339("1970-01-01T00:00:00Z", 19, &us));
    assert_false(parse_rfc3339("1970-01-01T\0000:00:00Z", 20, &us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_the_whole_text_within_its_bounds),
        cmocka_unit_test(a_time_is_the_same_moment_in_every_notation),
        cmocka_unit_test(a_time_ends_where_its_length_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
