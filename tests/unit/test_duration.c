#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/cli/duration.h"

static void a_duration_is_a_whole_number_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        { "none", 0 },      { "1m", 60 },         { "90m", 5400 },       { "26h", 93600 },
        { "1d", 86400 },    { "366d", 31622400 }, { "8784h", 31622400 }, { "527040m", 31622400 },
        { "0001d", 86400 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t seconds = -1;
        assert_true(duration_parse(cases[i].text, &seconds));
        assert_int_equal(seconds, cases[i].seconds);
    }
}

static void anything_else_is_none(void **state)
{
    static const char *const cases[] = {
        "",    "h",    "26",    "26 h", "26H",   "-1h",     "+1h",        "0h",   "1.5h", "1w",
        "1hh", "NONE", "none ", "367d", "8785h", "527041m", "999999999d", "1d2h", "\n1h", "1s",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t seconds = -1;
        assert_false(duration_parse(cases[i], &seconds));
        assert_int_equal(seconds, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duration_is_a_whole_number_and_a_unit),
        cmocka_unit_test(anything_else_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
