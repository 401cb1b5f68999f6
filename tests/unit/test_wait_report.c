#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/export/wait_report.h"

static const struct delivery_wait limited = { .kind = WAIT_RATE_LIMITED,
                                              .since_ms = 500,
                                              .why = "the rate limit is used up" };

/* As one that was told and logged at now_ms. */
static void tell(struct wait_report *report, enum wait_kind kind, int64_t now_ms)
{
    report->kind = kind;
    report->logged_ms = now_ms;
}

static void a_change_is_told_at_once_and_a_wait_once_a_minute(void **state)
{
    struct wait_report report = { .kind = WAIT_NONE };

    (void)state;
    assert_false(wait_report_has_news(&report, WAIT_NONE, 1000000));
    assert_true(wait_report_has_news(&report, WAIT_RATE_LIMITED, 1000));
    tell(&report, WAIT_RATE_LIMITED, 1000);
    assert_false(wait_report_has_news(&report, WAIT_RATE_LIMITED, 60999));
    assert_true(wait_report_has_news(&report, WAIT_RATE_LIMITED, 61000));
    assert_true(wait_report_has_news(&report, WAIT_KLAVIYO_UNAVAILABLE, 1001));
    assert_true(wait_report_has_news(&report, WAIT_NONE, 1001));
}

static void a_run_that_was_parked_says_nothing_new_at_first(void **state)
{
    struct wait_report report;

    (void)state;
    wait_report_resume(&report, WAIT_RATE_LIMITED, 77, 30000, 100000);
    assert_false(wait_report_has_news(&report, WAIT_NONE, 102499));
    assert_true(wait_report_has_news(&report, WAIT_NONE, 102500));
    /* Once a minute goes on from what was logged before. */
    assert_false(wait_report_has_news(&report, WAIT_RATE_LIMITED, 129999));
    assert_true(wait_report_has_news(&report, WAIT_RATE_LIMITED, 130000));
    assert_int_equal(report.since_us, 77);
}

static void since_when_is_kept_while_the_wait_is_the_same(void **state)
{
    struct wait_report report = { .kind = WAIT_NONE };
    char text[WAIT_REPORT_DETAIL_BYTES];

    (void)state;
    wait_report_note(&report, &limited, 1500, 1790000001000000);
    tell(&report, WAIT_RATE_LIMITED, 1500);
    wait_report_text(&report, &limited, text);
    assert_string_equal(text, "the rate limit is used up; it waits since 2026-09-21T14:13:20Z");
    wait_report_note(&report, &limited, 9000, 1790000099000000);
    assert_int_equal(report.since_us, 1790000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_is_told_at_once_and_a_wait_once_a_minute),
        cmocka_unit_test(a_run_that_was_parked_says_nothing_new_at_first),
        cmocka_unit_test(since_when_is_kept_while_the_wait_is_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
