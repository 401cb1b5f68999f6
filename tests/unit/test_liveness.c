#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/http/liveness.h"

enum { NOW = 10 * LIVENESS_STALL_MS, LONG_AGO = NOW - LIVENESS_STALL_MS - 1, RECENT = NOW - 50 };

/* All is well, with work in hand. */
static const struct liveness_facts well = { .now_ms = NOW,
                                            .started_ms = 1,
                                            .loop_ms = RECENT,
                                            .intake_ms = RECENT,
                                            .run_poll_ms = RECENT,
                                            .progress_ms = RECENT,
                                            .answer_ms = RECENT,
                                            .open_events = 3,
                                            .free_slots = 1 };

/* Events are open, a slot is free, nobody looks for runs, PostgreSQL answers. */
static struct liveness_facts stalled(void)
{
    struct liveness_facts facts = well;

    facts.progress_ms = LONG_AGO;
    facts.run_poll_ms = LONG_AGO;
    return facts;
}

static void it_is_alive_while_its_threads_turn(void **state)
{
    struct liveness_facts facts = well;

    (void)state;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    facts.progress_ms = LONG_AGO; /* a run of another worker is waited for */
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
}

static void a_loop_that_stands_is_not_alive(void **state)
{
    struct liveness_facts facts = well;

    (void)state;
    facts.loop_ms = NOW - LIVENESS_LOOP_MS;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    facts.loop_ms--;
    assert_int_equal(liveness_judge(&facts), LIVENESS_LOOP_STANDS);
}

/* Who thaws a process may be answered before its loop runs again. */
static void one_look_at_a_loop_that_stands_says_nothing(void **state)
{
    struct liveness_facts facts = well;

    (void)state;
    facts.loop_ms = NOW - 10 * LIVENESS_LOOP_MS;
    facts.look_ms = NOW;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    facts.look_ms = NOW - LIVENESS_LOOK_MS + 1;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    facts.look_ms--;
    assert_int_equal(liveness_judge(&facts), LIVENESS_LOOP_STANDS);
}

static void a_look_remembers_since_when_the_loop_stands(void **state)
{
    struct liveness_look look = { 0 };

    (void)state;
    assert_int_equal(liveness_look(&look, 5, 100), 100);
    assert_int_equal(liveness_look(&look, 5, 900), 100);
    assert_int_equal(liveness_look(&look, 6, 1000), 1000); /* it has turned */
    assert_int_equal(liveness_look(&look, 6, 3000), 1000);
}

static void a_start_is_given_time(void **state)
{
    struct liveness_facts facts = { .now_ms = NOW, .started_ms = RECENT };

    (void)state;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
}

static void backlog_a_free_slot_and_nothing_that_moves_is_a_stall(void **state)
{
    struct liveness_facts facts = stalled();

    (void)state;
    assert_int_equal(liveness_judge(&facts), LIVENESS_STALLED);
    facts.run_poll_ms = RECENT;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    facts.intake_ms = LONG_AGO;
    assert_int_equal(liveness_judge(&facts), LIVENESS_STALLED);
}

static void without_backlog_or_a_free_slot_or_while_stopping_nothing_is_stalled(void **state)
{
    struct liveness_facts idle = stalled(), full = stalled(), stopping = stalled();

    (void)state;
    idle.open_events = 0;
    full.free_slots = 0;
    stopping.draining = true;
    assert_int_equal(liveness_judge(&idle), LIVENESS_ALIVE);
    assert_int_equal(liveness_judge(&full), LIVENESS_ALIVE);
    assert_int_equal(liveness_judge(&stopping), LIVENESS_ALIVE);
}

static void a_database_that_does_not_answer_is_no_reason_but_to_ask_it(void **state)
{
    struct liveness_facts facts = stalled();

    (void)state;
    facts.answer_ms = 0;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    facts.answer_ms = NOW - LIVENESS_ANSWER_MS - 1;
    assert_int_equal(liveness_judge(&facts), LIVENESS_ALIVE);
    assert_true(liveness_is_in_doubt(&facts));
    facts = well;
    assert_false(liveness_is_in_doubt(&facts));
}

static void the_verdict_is_said_in_words(void **state)
{
    (void)state;
    assert_string_equal(liveness_text(LIVENESS_ALIVE), "alive");
    assert_string_equal(liveness_text(LIVENESS_LOOP_STANDS), "the control loop does not turn");
    assert_string_equal(liveness_text(LIVENESS_STALLED),
                        "events are open and a run slot is free, but nothing moves");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_alive_while_its_threads_turn),
        cmocka_unit_test(a_loop_that_stands_is_not_alive),
        cmocka_unit_test(a_look_remembers_since_when_the_loop_stands),
        cmocka_unit_test(one_look_at_a_loop_that_stands_says_nothing),
        cmocka_unit_test(a_start_is_given_time),
        cmocka_unit_test(backlog_a_free_slot_and_nothing_that_moves_is_a_stall),
        cmocka_unit_test(without_backlog_or_a_free_slot_or_while_stopping_nothing_is_stalled),
        cmocka_unit_test(a_database_that_does_not_answer_is_no_reason_but_to_ask_it),
        cmocka_unit_test(the_verdict_is_said_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
