#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/export/availability.h"

enum { ONE = 1 /* request in flight */ };

static struct availability fresh(void)
{
    struct availability availability;

    availability_init(&availability, false, false, NULL, 0);
    return availability;
}

static void failures_count_from_the_first_until_something_else_comes(void **state)
{
    struct availability availability = fresh();

    (void)state;
    availability_heard(&availability, 1000);
    assert_false(availability_responded(&availability, VERDICT_AGAIN, ONE, 1500));
    assert_false(availability_responded(&availability, VERDICT_AGAIN, ONE, 2500));
    assert_int_equal(availability_in_vain_ms(&availability, 3000), 1500);
    assert_true(availability_responded(&availability, VERDICT_OK, ONE, 3000));
    assert_int_equal(availability_in_vain_ms(&availability, 9000), 0);
}

static void what_was_in_vain_is_forgotten_once_the_run_got_on(void **state)
{
    struct availability availability;

    (void)state;
    availability_init(&availability, true, false, "Klaviyo answered 503 to import", 5000);
    availability_progress(&availability);
    assert_string_equal(availability.trouble, "Klaviyo answered 503 to import");
    assert_true(availability_responded(&availability, VERDICT_OK, ONE, 6000));
    assert_string_equal(availability.trouble, "Klaviyo answered 503 to import");
    availability_progress(&availability);
    assert_string_equal(availability.trouble, "");
}

static void reached_limits_are_not_failures(void **state)
{
    struct availability availability = fresh();

    (void)state;
    assert_false(availability_responded(&availability, VERDICT_AGAIN, ONE, 1000));
    assert_false(availability_responded(&availability, VERDICT_THROTTLED, ONE, 2000));
    assert_int_equal(availability_in_vain_ms(&availability, 5000), 0);
    assert_int_equal(availability_limited_ms(&availability, 5000), 3000);
}

static void silence_counts_while_something_is_in_flight(void **state)
{
    struct availability availability = fresh();

    (void)state;
    availability_heard(&availability, 1000);
    assert_false(availability_is_quiet(&availability, ONE, 4999));
    assert_true(availability_is_quiet(&availability, ONE, 5000));
    assert_false(availability_is_quiet(&availability, 0, 5000));
    /* A time-out after it: in vain since the silence began. */
    assert_false(availability_responded(&availability, VERDICT_AGAIN, ONE, 11000));
    assert_int_equal(availability_in_vain_ms(&availability, 11000), 10000);
}

static void a_run_that_was_parked_goes_on_with_what_it_waited_for(void **state)
{
    struct availability availability;

    (void)state;
    availability_init(&availability, true, false, "Klaviyo answered 503", 9000);
    assert_int_equal(availability_in_vain_ms(&availability, 9000), AVAILABILITY_LONG_MS);
    assert_int_equal(availability_limited_ms(&availability, 9000), 0);
    assert_string_equal(availability.trouble, "Klaviyo answered 503");
    availability_init(&availability, false, true, NULL, 9000);
    assert_int_equal(availability_limited_ms(&availability, 9000), AVAILABILITY_LONG_MS);
    assert_string_equal(availability.trouble, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_count_from_the_first_until_something_else_comes),
        cmocka_unit_test(what_was_in_vain_is_forgotten_once_the_run_got_on),
        cmocka_unit_test(reached_limits_are_not_failures),
        cmocka_unit_test(silence_counts_while_something_is_in_flight),
        cmocka_unit_test(a_run_that_was_parked_goes_on_with_what_it_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
