#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>

#include "common/retry.h"

static void the_bound_doubles_up_to_the_cap(void **state)
{
    static const struct {
        unsigned attempt;
        int64_t longest;
    } cases[] = { { 1, 500 },   { 2, 1000 },  { 3, 2000 },   { 7, 32000 },
                  { 8, 60000 }, { 9, 60000 }, { 64, 60000 }, { UINT_MAX, 60000 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(retry_wait_ms(RETRY_POLICY, cases[i].attempt, UINT32_MAX, 0),
                         cases[i].longest);
}

static void jitter_is_full(void **state)
{
    (void)state;
    assert_int_equal(retry_wait_ms(RETRY_POLICY, 8, 0, 0), 0);
    assert_int_equal(retry_wait_ms(RETRY_POLICY, 8, UINT32_MAX / 2, 0), 30000);
    assert_int_equal(retry_wait_ms(RETRY_POLICY, 8, UINT32_MAX, 0), 60000);
}

static void no_wait_is_shorter_than_the_floor(void **state)
{
    (void)state;
    assert_int_equal(retry_wait_ms(RETRY_POLICY, 1, 0, 1000), 1000);
    assert_int_equal(retry_wait_ms(RETRY_POLICY, 8, UINT32_MAX, 1000), 60000);
    assert_int_equal(retry_wait_ms(RETRY_POLICY, 8, UINT32_MAX, 3600000),
                     3600000); /* over the cap */
}

static void a_base_over_the_cap_is_the_cap(void **state)
{
    const struct retry_policy policy = { .base_ms = 100, .cap_ms = 40 };

    (void)state;
    assert_int_equal(retry_wait_ms(policy, 1, UINT32_MAX, 0), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bound_doubles_up_to_the_cap),
        cmocka_unit_test(jitter_is_full),
        cmocka_unit_test(no_wait_is_shorter_than_the_floor),
        cmocka_unit_test(a_base_over_the_cap_is_the_cap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
