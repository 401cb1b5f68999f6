#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/export/lease.h"
#include "worker/export/retry_budget.h"

static void a_lease_is_renewed_five_times_in_its_length(void **state)
{
    struct lease lease;

    (void)state;
    lease_init(&lease, 15000, 1000);
    assert_false(lease_is_due(&lease, 3999));
    assert_true(lease_is_due(&lease, 4000));
    lease_renewed(&lease, 4000);
    assert_false(lease_is_due(&lease, 6999));
}

static void no_import_begins_in_the_last_third_and_nothing_after_the_end(void **state)
{
    struct lease lease;

    (void)state;
    lease_init(&lease, 15000, 1000);
    assert_true(lease_allows_import(&lease, 10999));
    assert_false(lease_allows_import(&lease, 11000));
    assert_false(lease_is_over(&lease, 15999));
    assert_true(lease_is_over(&lease, 16000));
}

static void the_retry_budget_is_used_up_without_progress(void **state)
{
    struct retry_budget budget;

    (void)state;
    retry_budget_init(&budget, 1000, 400, 0);
    assert_true(retry_budget_tick(&budget, 500, false));
    assert_false(retry_budget_tick(&budget, 600, false));
}

static void the_retry_budget_is_paused_while_a_limit_is_waited_for(void **state)
{
    struct retry_budget budget;

    (void)state;
    retry_budget_init(&budget, 1000, 0, 0);
    assert_true(retry_budget_tick(&budget, 900, false));
    assert_true(retry_budget_tick(&budget, 100000, true));
    assert_true(retry_budget_tick(&budget, 100099, false));
    retry_budget_progress(&budget);
    assert_true(retry_budget_tick(&budget, 101000, false));
    assert_int_equal(budget.used_ms, 901);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_is_renewed_five_times_in_its_length),
        cmocka_unit_test(no_import_begins_in_the_last_third_and_nothing_after_the_end),
        cmocka_unit_test(the_retry_budget_is_used_up_without_progress),
        cmocka_unit_test(the_retry_budget_is_paused_while_a_limit_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
