#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/store/run_state.h"

static void every_state_has_a_name_that_leads_back_to_it(void **state)
{
    (void)state;
    for (unsigned i = 0; i < RUN_STATES; i++) {
        enum run_state found = RUN_STATES;

        assert_true(run_state_of(run_state_name((enum run_state)i), &found));
        assert_int_equal(found, i);
        assert_non_null(strstr(RUN_STATE_NAMES, run_state_name((enum run_state)i)));
    }
}

static void a_name_of_no_state_changes_nothing(void **state)
{
    enum run_state found = RUN_FAILED;

    (void)state;
    assert_false(run_state_of("lost", &found));
    assert_false(run_state_of("", &found));
    assert_int_equal(found, RUN_FAILED);
}

static void a_run_is_over_in_four_states(void **state)
{
    static const bool over[RUN_STATES] = { [RUN_SUCCEEDED] = true,
                                           [RUN_SUCCEEDED_WITH_REJECTIONS] = true,
                                           [RUN_FAILED] = true,
                                           [RUN_CANCELLED] = true };

    (void)state;
    for (unsigned i = 0; i < RUN_STATES; i++)
        assert_int_equal(run_state_is_end((enum run_state)i), over[i]);
}

static void every_reason_but_none_has_a_name_that_leads_back_to_it(void **state)
{
    (void)state;
    assert_null(run_reason_name(REASON_NONE));
    assert_int_equal(run_reason_of(NULL), REASON_NONE);
    for (unsigned i = REASON_NONE + 1; i < RUN_REASONS; i++) {
        assert_non_null(run_reason_name((enum run_reason)i));
        assert_int_equal(run_reason_of(run_reason_name((enum run_reason)i)), i);
    }
}

static void a_reason_of_another_version_is_other(void **state)
{
    (void)state;
    assert_int_equal(run_reason_of("of_the_future"), REASON_OTHER);
    assert_int_equal(run_reason_of(""), REASON_OTHER);
}

static void only_failures_are_failures(void **state)
{
    static const enum run_reason others[] = {
        REASON_NONE,           REASON_REMOVALS_WITHHELD,   REASON_CANCELLED_BY,
        REASON_EXPORT_REMOVED, REASON_EXPORT_PAUSED,       REASON_EXPORT_CHANGED,
        REASON_RATE_LIMITED,   REASON_KLAVIYO_UNAVAILABLE, REASON_DATABASE_UNAVAILABLE,
        REASON_LIST_IN_USE,    REASON_EVENT_INVALID,
    };
    size_t failures = 0;

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(run_reason_is_failure(others[i]));
    for (unsigned i = 0; i < RUN_REASONS; i++)
        failures += run_reason_is_failure((enum run_reason)i);
    assert_int_equal(failures, RUN_REASONS - sizeof others / sizeof others[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_has_a_name_that_leads_back_to_it),
        cmocka_unit_test(a_name_of_no_state_changes_nothing),
        cmocka_unit_test(a_run_is_over_in_four_states),
        cmocka_unit_test(every_reason_but_none_has_a_name_that_leads_back_to_it),
        cmocka_unit_test(a_reason_of_another_version_is_other),
        cmocka_unit_test(only_failures_are_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
