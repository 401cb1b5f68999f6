#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/export/time_left.h"

#define NOW_US INT64_C(1795593600000000) /* 2026-11-25T08:00:00Z */
#define S INT64_C(1000000)

/* Imports take 2 s, five of them are in flight, 10 a second and 150 a minute may be sent. */
static const struct {
    const char *what;
    struct time_left_facts facts;
    int64_t ms;
} cases[] = {
    { "no job has ended", { .planned = 9, .percent = 100 }, 0 },
    { "nothing is left", { .job_ms = 2000, .percent = 100 }, 0 },
    { "one at Klaviyo", { .sent = 1, .job_ms = 2000, .percent = 100 }, 2000 },
    { "five at once", { .planned = 3, .sent = 2, .job_ms = 2000, .percent = 100 }, 2000 },
    { "in flight", { .planned = 100, .job_ms = 2000, .percent = 100 }, 40000 },
    { "half is ours", { .planned = 100, .job_ms = 10, .percent = 50 }, 64010 },
    { "the minute is full", { .planned = 15, .job_ms = 10, .percent = 100, .used = 150 }, 6010 },
    { "over the minute", { .planned = 300, .job_ms = 10, .percent = 100 }, 74010 },
    { "others go, too", { .planned = 100, .others = 200, .job_ms = 10, .percent = 100 }, 74010 },
    { "one a minute", { .planned = 3, .job_ms = 10, .percent = 0, .used = 1 }, 180010 },
    { "blocked", { .planned = 10, .job_ms = 10, .percent = 100, .blocked_ms = 5000 }, 5020 },
    { "blocked until the minute is free",
      { .planned = 10, .job_ms = 10, .percent = 100, .used = 150, .blocked_ms = 60000 },
      60020 },
    { "the run waits for something else",
      { .planned = 10, .job_ms = 10, .percent = 100, .waiting_ms = 9000 },
      9000 },
    { "what is at Klaviyo minds no block",
      { .sent = 1, .job_ms = 2000, .percent = 100, .blocked_ms = 60000 },
      2000 },
};

static void the_limit_and_the_imports_in_flight_say_how_long(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (time_left_ms(&cases[i].facts) != cases[i].ms)
            fail_msg("%s: %lld", cases[i].what, (long long)time_left_ms(&cases[i].facts));
}

/* 100 imports, 40 s, told at NOW_US; a moment later the facts are these. */
static const struct {
    const char *what;
    int64_t after_s;
    struct time_left_facts facts;
    int64_t left_s;
} changes[] = {
    { "time goes by", 5, { .planned = 100, .job_ms = 2000, .percent = 100 }, 35 },
    { "jobs take longer", 5, { .planned = 100, .job_ms = 9000, .percent = 100 }, 35 },
    { "it gets on", 5, { .planned = 50, .job_ms = 2000, .percent = 100 }, 20 },
    { "what was told has passed", 50, { .planned = 50, .job_ms = 3000, .percent = 100 }, 30 },
    { "more is to be sent", 5, { .planned = 200, .job_ms = 2000, .percent = 100 }, 80 },
    { "others come", 5, { .planned = 100, .others = 400, .job_ms = 2000, .percent = 100 }, 186 },
    { "less is ours", 5, { .planned = 100, .job_ms = 2000, .percent = 10 }, 371 },
    { "more is ours", 5, { .planned = 100, .job_ms = 2000, .percent = 100, .used = 150 }, 35 },
    { "a block", 5, { .planned = 100, .job_ms = 2000, .percent = 100, .blocked_ms = 60000 }, 100 },
    { "a wait that is shorter",
      5,
      { .planned = 100, .job_ms = 2000, .percent = 100, .waiting_ms = 30000 },
      35 },
    { "a wait that is longer",
      5,
      { .planned = 100, .job_ms = 2000, .percent = 100, .waiting_ms = 50000 },
      50 },
};

static void the_end_moves_away_for_a_cause_only(void **state)
{
    const struct time_left_facts first = { .planned = 100, .job_ms = 2000, .percent = 100 };

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct time_left left = { .end_us = 0 };
        int64_t now_us = NOW_US + changes[i].after_s * S;

        time_left_update(&left, &first, NOW_US);
        assert_int_equal(time_left_seconds(&left, NOW_US), 40);
        time_left_update(&left, &changes[i].facts, now_us);
        if (time_left_seconds(&left, now_us) != changes[i].left_s)
            fail_msg("%s: %lld", changes[i].what, (long long)time_left_seconds(&left, now_us));
    }
}

static void a_block_that_goes_on_is_no_cause(void **state)
{
    struct time_left left = { .end_us = 0 };

    (void)state;
    for (int64_t s = 0; s < 60; s++) {
        struct time_left_facts facts = {
            .planned = 100, .job_ms = 2000 + s * 100, .percent = 100, .blocked_ms = (60 - s) * 1000
        };
        time_left_update(&left, &facts, NOW_US + s * S);
        assert_int_equal(time_left_seconds(&left, NOW_US + s * S), 100 - s);
    }
}

static void what_is_not_known_is_not_told(void **state)
{
    struct time_left left = { .end_us = 0 };
    const struct time_left_facts facts = { .planned = 100, .job_ms = 2000, .percent = 100 };

    (void)state;
    time_left_update(&left, &facts, NOW_US);
    time_left_update(&left, NULL, NOW_US);
    assert_int_equal(time_left_seconds(&left, NOW_US), 0);
}

/* ---- from JSON ---- */

#define OUTLOOK                                                                        \
    "{\"planned\": 7, \"sent\": 2, \"job_ms\": 1500, \"others\": 3, \"percent\": 20, " \
    "\"used\": 9, \"blocked_until\": null}"

static bool read(const char *run, const char *outlook, struct time_left_facts *facts)
{
    json_t *r = json_loads(run, 0, NULL), *o = json_loads(outlook, JSON_DECODE_ANY, NULL);
    bool known;

    assert_non_null(r);
    assert_non_null(o);
    known = time_left_read(r, o, NOW_US, facts);
    json_decref(r);
    json_decref(o);
    return known;
}

static void a_run_and_its_outlook_are_read(void **state)
{
    const struct time_left_facts wanted = {
        .planned = 7, .sent = 2, .job_ms = 1500, .others = 3, .percent = 20, .used = 9
    };
    struct time_left_facts facts;

    (void)state;
    assert_true(read("{\"state\": \"running\", \"waiting_until\": null}", OUTLOOK, &facts));
    assert_memory_equal(&facts, &wanted, sizeof facts);
    assert_true(read("{\"state\": \"waiting\", \"reason\": \"rate_limited\","
                     " \"waiting_until\": \"2026-11-25T08:00:09Z\"}",
                     OUTLOOK, &facts));
    assert_int_equal(facts.waiting_ms, 9000);
    assert_true(read("{\"state\": \"running\"}",
                     "{\"planned\": 1, \"job_ms\": null, \"blocked_until\": "
                     "\"2026-11-25T08:00:30.5Z\"}",
                     &facts));
    assert_int_equal(facts.blocked_ms, 30500);
    assert_int_equal(facts.job_ms, 0);
}

static void a_run_that_waits_for_who_is_away_has_no_end(void **state)
{
    struct time_left_facts facts;

    (void)state;
    assert_false(read("{\"state\": \"waiting\", \"reason\": \"klaviyo_unavailable\","
                      " \"waiting_until\": \"2026-11-25T08:00:09Z\"}",
                      OUTLOOK, &facts));
    assert_false(read("{\"state\": \"waiting\", \"reason\": null}", OUTLOOK, &facts));
    assert_false(read("{\"state\": \"succeeded\"}", "null", &facts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_and_the_imports_in_flight_say_how_long),
        cmocka_unit_test(the_end_moves_away_for_a_cause_only),
        cmocka_unit_test(a_block_that_goes_on_is_no_cause),
        cmocka_unit_test(what_is_not_known_is_not_told),
        cmocka_unit_test(a_run_and_its_outlook_are_read),
        cmocka_unit_test(a_run_that_waits_for_who_is_away_has_no_end),
    };
    return cmocka_run_group_tests_name("time left", tests, NULL, NULL);
}
