#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/export/request_schedule.h"

enum { START = 1000, REST_MS = 10 * 1000 };

static struct pending_request sent(enum endpoint endpoint, int64_t started_ms)
{
    return (struct pending_request){ .endpoint = endpoint, .started_ms = started_ms };
}

static void a_refused_key_rests_whatever_else_was_on_its_way(void **state)
{
    struct request_schedule schedule = { .imports_until_ms = REQUEST_SCHEDULE_NEVER };
    struct pending_request first = sent(ENDPOINT_IMPORT, START);
    struct pending_request other = sent(ENDPOINT_IMPORT, START);
    struct pending_request job = sent(ENDPOINT_JOB, START + 5);

    (void)state;
    assert_false(request_schedule_key_refused(&schedule, &first, START + 10));
    request_schedule_key_accepted(&schedule, &other);
    request_schedule_key_accepted(&schedule, &job);
    assert_false(request_schedule_may_start(&schedule, &first, START + 10 + REST_MS - 1));
    assert_true(request_schedule_may_start(&schedule, &first, START + 10 + REST_MS));
    /* So was this one, whose refusal comes while the key rests. */
    assert_false(request_schedule_key_refused(&schedule, &other, START + 11));
    /* And this one, however late. */
    assert_false(request_schedule_key_refused(&schedule, &job, START + 10 + REST_MS));
    first.started_ms = START + 10 + REST_MS;
    assert_true(request_schedule_key_refused(&schedule, &first, START + 10 + REST_MS + 1));
}

static void a_key_that_is_accepted_after_its_rest_has_not_been_refused(void **state)
{
    struct request_schedule schedule = { .imports_until_ms = REQUEST_SCHEDULE_NEVER };
    struct pending_request first = sent(ENDPOINT_IMPORT, START);
    struct pending_request again = sent(ENDPOINT_IMPORT, START + 10 + REST_MS);

    (void)state;
    assert_false(request_schedule_key_refused(&schedule, &first, START + 10));
    request_schedule_key_accepted(&schedule, &again);
    assert_true(request_schedule_may_start(&schedule, &first, START + 10 + REST_MS));
    first.started_ms = START + 20 + REST_MS;
    assert_false(request_schedule_key_refused(&schedule, &first, START + 30 + REST_MS));
}

static void another_endpoint_does_not_say_that_the_key_is_good_again(void **state)
{
    struct request_schedule schedule = { .imports_until_ms = REQUEST_SCHEDULE_NEVER };
    struct pending_request first = sent(ENDPOINT_IMPORT, START);
    struct pending_request job = sent(ENDPOINT_JOB, START + 10 + REST_MS);

    (void)state;
    assert_false(request_schedule_key_refused(&schedule, &first, START + 10));
    request_schedule_key_accepted(&schedule, &job);
    first.started_ms = START + 10 + REST_MS;
    assert_true(request_schedule_key_refused(&schedule, &first, START + 30 + REST_MS));
}

/* Nothing is asked at that endpoint again, and the key is accepted at all others. */
static void a_stray_refusal_is_not_remembered_for_ever(void **state)
{
    struct request_schedule schedule = { .imports_until_ms = REQUEST_SCHEDULE_NEVER };
    struct pending_request listing = sent(ENDPOINT_JOBS, START);
    struct pending_request job = sent(ENDPOINT_JOB, START + 10 + REST_MS);
    struct pending_request import = sent(ENDPOINT_IMPORT, START + 20 + REST_MS);

    (void)state;
    assert_false(request_schedule_key_refused(&schedule, &listing, START + 10));
    request_schedule_key_accepted(&schedule, &job);
    assert_false(request_schedule_key_refused(&schedule, &import, START + 30 + REST_MS));
    import.started_ms = START + 30 + 2 * REST_MS;
    assert_true(request_schedule_key_refused(&schedule, &import, import.started_ms + 1));
    listing.started_ms = START + 3600 * 1000;
    assert_false(request_schedule_key_refused(&schedule, &listing, listing.started_ms + 1));
}

static void two_endpoints_that_refuse_one_after_the_other_are_the_second_time(void **state)
{
    struct request_schedule schedule = { .imports_until_ms = REQUEST_SCHEDULE_NEVER };
    struct pending_request listing = sent(ENDPOINT_JOBS, START);
    struct pending_request import = sent(ENDPOINT_IMPORT, START + 10 + REST_MS);

    (void)state;
    assert_false(request_schedule_key_refused(&schedule, &listing, START + 10));
    assert_true(request_schedule_key_refused(&schedule, &import, START + 20 + REST_MS));
}

static void a_short_wait_does_not_open_what_a_long_one_has_closed(void **state)
{
    struct request_schedule schedule = { .imports_until_ms = REQUEST_SCHEDULE_NEVER };
    struct pending_request pending = { .endpoint = ENDPOINT_IMPORT };

    (void)state;
    request_schedule_close(&schedule, ENDPOINT_IMPORT, START + 30000);
    request_schedule_close(&schedule, ENDPOINT_IMPORT, START + 1000);
    assert_false(request_schedule_may_start(&schedule, &pending, START + 29999));
    assert_true(request_schedule_may_start(&schedule, &pending, START + 30000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_key_rests_whatever_else_was_on_its_way),
        cmocka_unit_test(a_key_that_is_accepted_after_its_rest_has_not_been_refused),
        cmocka_unit_test(another_endpoint_does_not_say_that_the_key_is_good_again),
        cmocka_unit_test(a_stray_refusal_is_not_remembered_for_ever),
        cmocka_unit_test(two_endpoints_that_refuse_one_after_the_other_are_the_second_time),
        cmocka_unit_test(a_short_wait_does_not_open_what_a_long_one_has_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
