#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/klaviyo/retry_after.h"

/* 2026-11-24 08:00:47 UTC, a Tuesday. */
#define NOW_US INT64_C(1795507247000000)

static void a_retry_after_is_seconds_or_a_date_and_a_day_at_most(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        { "0", 0 },
        { "1", 1000 },
        { "56", 56000 },
        { "3600", 3600000 },
        { "3601", 3601000 },
        { "86400", 86400000 },
        { "86401", 86400000 },
        { "99999999999999999999999999", 86400000 },
        { "Tue, 24 Nov 2026 08:00:57 GMT", 11000 },
        { "Tue, 24 Nov 2026 08:00:00 GMT", 0 },
        { "Tue, 24 Nov 2099 08:00:00 GMT", 86400000 },
        { "Tuesday, 24-Nov-26 08:00:57 GMT", 11000 },
        { "Tue Nov 24 08:00:57 2026", 11000 },
        { "Sun, 06 Nov 1994 08:49:37 GMT", 0 },
        { "", -1 },
        { "soon", -1 },
        { "-1", -1 },
        { "1.5", -1 },
        { "1 second", -1 },
        { "Tue, 24 Nov 2026 08:00:57", -1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = 4711;

        assert_int_equal(retry_after_parse(cases[i].text, NOW_US, &ms), cases[i].ms >= 0);
        assert_int_equal(ms, cases[i].ms >= 0 ? cases[i].ms : 4711);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retry_after_is_seconds_or_a_date_and_a_day_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
