#include "worker/outcome/outcome_flight.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct outcome_flight flight;
static int64_t ids[OUTCOME_FLIGHT_MAX];
static enum outcome_fate fates[OUTCOME_FLIGHT_MAX];

static int empty(void **state)
{
    (void)state;
    memset(&flight, 0, sizeof flight);
    return 0;
}

static struct outcome_in_flight *add(int64_t id, int64_t now_ms)
{
    const struct outcome outcome = { .outcome_id = id,
                                     .run_id = id * 10,
                                     .data = (char[]){ "{}" } };

    return outcome_flight_add(&flight, &outcome, now_ms);
}

static size_t due(int64_t now_ms)
{
    return outcome_flight_due(&flight, now_ms, ids, fates);
}

static void a_fate_is_recorded_once(void **state)
{
    struct outcome_in_flight *first = add(1, 1000);

    (void)state;
    (void)add(2, 1000);
    assert_int_equal(due(1001), 0);
    first->fate = OUTCOME_ACKNOWLEDGED;
    assert_int_equal(due(1001), 1);
    assert_int_equal(ids[0], 1);
    assert_int_equal(fates[0], OUTCOME_ACKNOWLEDGED);
    /* Where it could not be recorded, it is still due. */
    assert_int_equal(due(1002), 1);
    outcome_flight_recorded(&flight, 1002);
    assert_int_equal(due(1003), 0);
    assert_int_equal(outcome_flight_n(&flight), 1);
}

static void a_place_is_kept_while_others_come_and_go(void **state)
{
    struct outcome_in_flight *first = add(1, 1000), *second = add(2, 1000);

    (void)state;
    first->fate = OUTCOME_TOO_LARGE;
    outcome_flight_recorded(&flight, 1001);
    assert_ptr_equal(add(3, 1002), first);
    assert_int_equal(second->outcome_id, 2);
    assert_int_equal(second->run_id, 20);
}

static void claims_of_pending_ones_are_renewed_in_time(void **state)
{
    (void)state;
    (void)add(1, 1000);
    (void)add(2, 5000);
    assert_int_equal(due(1000 + OUTCOME_RENEW_MS - 1), 0);
    assert_int_equal(due(1000 + OUTCOME_RENEW_MS), 2);
    assert_int_equal(fates[0], OUTCOME_PENDING);
    outcome_flight_recorded(&flight, 1000 + OUTCOME_RENEW_MS);
    assert_int_equal(outcome_flight_n(&flight), 2);
    assert_int_equal(due(1001 + OUTCOME_RENEW_MS), 0);
    /* None is older than its claim when two renewals in a row fail. */
    assert_true(3 * OUTCOME_RENEW_MS <= OUTCOME_CLAIM_MS);
}

static void a_claim_after_a_rest_is_not_due_at_once(void **state)
{
    (void)state;
    (void)add(1, INT64_C(1000000));
    assert_int_equal(due(INT64_C(1000001)), 0);
}

static void room_is_bounded_by_number_and_by_bytes(void **state)
{
    size_t bytes;

    (void)state;
    assert_int_equal(outcome_flight_room(&flight, &bytes), OUTCOME_FLIGHT_MAX);
    assert_int_equal(bytes, OUTCOME_FLIGHT_BYTES_MAX);
    for (int i = 0; i < OUTCOME_FLIGHT_MAX; i++)
        (void)add(i + 1, 1000);
    assert_int_equal(outcome_flight_room(&flight, &bytes), 0);

    (void)empty(NULL);
    char *large = calloc(OUTCOME_FLIGHT_BYTES_MAX + 1, 1);
    assert_non_null(large);
    memset(large, 'x', OUTCOME_FLIGHT_BYTES_MAX);
    const struct outcome outcome = { .outcome_id = 1, .data = large };
    (void)outcome_flight_add(&flight, &outcome, 1000);
    assert_int_equal(outcome_flight_room(&flight, &bytes), 0);
    free(large);
}

static void the_oldest_pending_one_says_how_long_the_broker_is_silent(void **state)
{
    (void)state;
    assert_int_equal(outcome_flight_oldest_ms(&flight), 0);
    struct outcome_in_flight *first = add(1, 1000);
    (void)add(2, 2000);
    assert_int_equal(outcome_flight_oldest_ms(&flight), 1000);
    first->fate = OUTCOME_ACKNOWLEDGED;
    assert_int_equal(outcome_flight_oldest_ms(&flight), 2000);
}

static void what_is_given_up_is_anybodys_again(void **state)
{
    struct outcome_in_flight *first = add(1, 1000);

    (void)state;
    (void)add(2, 1000);
    first->fate = OUTCOME_ACKNOWLEDGED;
    outcome_flight_give_up(&flight);
    assert_int_equal(due(1001), 2);
    assert_int_equal(fates[0], OUTCOME_ACKNOWLEDGED);
    assert_int_equal(fates[1], OUTCOME_RETURNED);
}

#define TEST(name) cmocka_unit_test_setup(name, empty)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_fate_is_recorded_once),
        TEST(a_place_is_kept_while_others_come_and_go),
        TEST(claims_of_pending_ones_are_renewed_in_time),
        TEST(a_claim_after_a_rest_is_not_due_at_once),
        TEST(room_is_bounded_by_number_and_by_bytes),
        TEST(the_oldest_pending_one_says_how_long_the_broker_is_silent),
        TEST(what_is_given_up_is_anybodys_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
