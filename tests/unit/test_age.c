#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/age.h"
#include "common/cleanup.h"

#define NOW_US INT64_C(1795593600000000) /* 2026-11-25T08:00:00Z */

static void a_span_has_one_unit_and_two_of_it_at_least(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        { -5, "0 s" },      { 0, "0 s" },        { 119, "119 s" },
        { 120, "2 min" },   { 7199, "119 min" }, { 7200, "2 h" },
        { 172799, "47 h" }, { 172800, "2 d" },   { 900610, "10 d" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(100);

        age_add_span(&text, cases[i].seconds);
        assert_string_equal(text.data, cases[i].text);
    }
}

static void a_time_is_said_from_now_on(void **state)
{
    static const struct {
        const char *time, *text;
    } cases[] = {
        { "2026-11-25T07:59:55.5Z", "4 s ago" }, { "2026-11-25T07:58:00Z", "2 min ago" },
        { "2026-11-25T05:00:00Z", "3 h ago" },   { "2026-11-22T08:00:00Z", "3 d ago" },
        { "2026-11-25T08:05:00Z", "in 5 min" },  { "2026-11-25T08:00:00Z", "0 s ago" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(100);

        assert_true(age_add(&text, cases[i].time, NOW_US));
        assert_string_equal(text.data, cases[i].text);
    }
}

static void what_is_no_time_is_left_to_the_caller(void **state)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(100);

    (void)state;
    assert_false(age_add(&text, "never", NOW_US));
    assert_false(age_add(&text, "", NOW_US));
    assert_int_equal(text.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_span_has_one_unit_and_two_of_it_at_least),
        cmocka_unit_test(a_time_is_said_from_now_on),
        cmocka_unit_test(what_is_no_time_is_left_to_the_caller),
    };
    return cmocka_run_group_tests_name("age", tests, NULL, NULL);
}
