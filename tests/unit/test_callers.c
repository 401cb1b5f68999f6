#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "worker/service/callers.h"

enum { START = 10000, NO_SOCKET = -1 };

static struct caller *come(struct callers *callers, const char *from, int64_t now_ms)
{
    struct sockaddr_in address = { .sin_family = AF_INET };

    assert_int_equal(inet_pton(AF_INET, from, &address.sin_addr), 1);
    struct caller *caller =
        callers_add(callers, NO_SOCKET, (const struct sockaddr *)&address, now_ms);
    assert_non_null(caller);
    return caller;
}

static void all_go(struct callers *callers)
{
    while (callers->first)
        callers_remove(callers, callers->first);
    assert_int_equal(callers->n, 0);
    assert_null(callers->last);
}

static void a_caller_is_cut_off_at_the_deadline_of_its_connection(void **state)
{
    struct callers callers = { 0 };
    struct caller *first = come(&callers, "127.0.0.1", START);
    struct caller *second = come(&callers, "127.0.0.1", START + 1);

    (void)state;
    assert_int_equal(callers_next_ms(&callers), START + CALLERS_LIFETIME_MS);
    callers_mind(&callers, START + CALLERS_LIFETIME_MS - 1);
    assert_false(first->cut);
    callers_mind(&callers, START + CALLERS_LIFETIME_MS);
    assert_true(first->cut);
    assert_false(second->cut);
    assert_int_equal(callers_next_ms(&callers), START + 1 + CALLERS_LIFETIME_MS);
    callers_mind(&callers, START + CALLERS_LIFETIME_MS);
    assert_int_equal(callers.cut_late, 1);
    all_go(&callers);
    assert_int_equal(callers_next_ms(&callers), INT64_MAX);
}

static void an_old_caller_or_one_of_many_gets_its_last_answer(void **state)
{
    struct callers callers = { 0 };
    struct caller *caller = come(&callers, "127.0.0.1", START);

    (void)state;
    assert_false(callers_should_go(&callers, caller, START + CALLERS_LAST_ANSWER_MS - 1));
    assert_true(callers_should_go(&callers, caller, START + CALLERS_LAST_ANSWER_MS));
    for (int i = 0; i < CALLERS_PER_ADDRESS / 2; i++)
        (void)come(&callers, "127.0.0.1", START);
    assert_true(callers_should_go(&callers, caller, START));
    all_go(&callers);
}

static void slow_ones_beyond_an_addresss_share_go_after_a_moment(void **state)
{
    struct callers callers = { 0 };
    struct caller *other = come(&callers, "10.0.0.1", START);

    (void)state;
    for (int i = 0; i < CALLERS_PER_ADDRESS + 7; i++)
        (void)come(&callers, "127.0.0.1", START);
    callers_mind(&callers, START + CALLERS_GRACE_MS - 1);
    assert_int_equal(callers.cut_crowded, 0);
    callers_mind(&callers, START + CALLERS_GRACE_MS + CALLERS_LOOK_MS);
    assert_int_equal(callers.cut_crowded, 7);
    assert_true(other->later->cut);
    assert_false(other->cut);
    assert_false(callers.last->cut);
    all_go(&callers);
}

static void in_a_crowd_those_go_at_once_who_have_had_their_answer(void **state)
{
    struct callers callers = { 0 };
    struct caller *waits = come(&callers, "127.0.0.1", START - 1000);

    (void)state;
    waits->waiting_ms = START - 1000;
    for (int i = 0; i < CALLERS_PER_ADDRESS; i++)
        (void)come(&callers, "127.0.0.1", START);
    callers.last->answered = true;
    callers_mind(&callers, START);
    assert_int_equal(callers.cut_crowded, 1);
    assert_true(callers.last->cut);
    all_go(&callers);
}

static void many_addresses_together_have_a_bound_too(void **state)
{
    struct callers callers = { 0 };
    char from[32];

    (void)state;
    for (int i = 0; i < CALLERS_CROWD + 5; i++) {
        (void)snprintf(from, sizeof from, "10.1.%d.%d", i / 200, i % 200);
        (void)come(&callers, from, START);
    }
    callers_mind(&callers, START + CALLERS_GRACE_MS);
    assert_int_equal(callers.cut_crowded, 5);
    all_go(&callers);
}

static void a_caller_in_the_middle_can_leave(void **state)
{
    struct callers callers = { 0 };
    struct caller *first = come(&callers, "127.0.0.1", START);
    struct caller *middle = come(&callers, "127.0.0.1", START);
    struct caller *last = come(&callers, "127.0.0.1", START);

    (void)state;
    callers_remove(&callers, middle);
    assert_ptr_equal(first->later, last);
    assert_ptr_equal(last->earlier, first);
    callers_remove(&callers, last);
    assert_ptr_equal(callers.last, first);
    all_go(&callers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_caller_is_cut_off_at_the_deadline_of_its_connection),
        cmocka_unit_test(an_old_caller_or_one_of_many_gets_its_last_answer),
        cmocka_unit_test(slow_ones_beyond_an_addresss_share_go_after_a_moment),
        cmocka_unit_test(in_a_crowd_those_go_at_once_who_have_had_their_answer),
        cmocka_unit_test(many_addresses_together_have_a_bound_too),
        cmocka_unit_test(a_caller_in_the_middle_can_leave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
