#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/cli/percent.h"

static void a_share_is_a_whole_number_with_or_without_its_sign(void **state)
{
    static const struct {
        const char *text;
        int64_t least, percent; /* -1: refused */
    } cases[] = {
        { "1", 1, 1 },     { "100", 1, 100 }, { "50%", 1, 50 }, { "0", 0, 0 },
        { "007", 1, 7 },   { "0", 1, -1 },    { "101", 0, -1 }, { "9", 10, -1 },
        { "", 0, -1 },     { "%", 0, -1 },    { "5 %", 0, -1 }, { "5%%", 0, -1 },
        { "-5", 0, -1 },   { "+5", 0, -1 },   { "5.5", 0, -1 }, { " 5", 0, -1 },
        { "0050", 0, -1 }, { "50x", 0, -1 },  { "5e1", 0, -1 }, { "18446744073709551617", 0, -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t percent = -1;

        assert_int_equal(percent_parse(cases[i].text, cases[i].least, &percent),
                         cases[i].percent >= 0);
        assert_int_equal(percent, cases[i].percent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_is_a_whole_number_with_or_without_its_sign),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
