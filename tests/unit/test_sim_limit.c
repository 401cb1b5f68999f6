#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/simulator/limit.h"
#include "tests/simulator/traffic.h"

#define SECOND INT64_C(1000000)
#define START (INT64_C(1790000000) * SECOND)

static const struct limit medium = { { { 10, 1 }, { 150, 60 } } };

/* How many of n requests are taken. */
static unsigned take(struct limit_use *use, int64_t phase, int64_t now, unsigned n)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < n; i++) {
        if (!limit_has_room(&medium, use, phase, now))
            continue;
        limit_count(&medium, use, phase, now);
        taken++;
    }
    return taken;
}

static void a_burst_is_cut_at_the_short_window(void **state)
{
    struct limit_use use = { 0 };

    (void)state;
    assert_int_equal(take(&use, 0, START, 12), 10);
    assert_int_equal(take(&use, 0, START + SECOND - 1, 1), 0);
    assert_int_equal(take(&use, 0, START + SECOND, 12), 10);
}

static void the_long_window_counts_what_the_short_one_let_through(void **state)
{
    struct limit_use use = { 0 };
    unsigned taken = 0;
    int64_t start = START - START % (60 * SECOND);

    (void)state;
    for (int64_t second = 0; second < 60; second++)
        taken += take(&use, 0, start + second * SECOND, 10);
    assert_int_equal(taken, 150);
    assert_int_equal(limit_wait_s(&medium, &use, 0, start + 20 * SECOND), 40);
    assert_int_equal(take(&use, 0, start + 60 * SECOND, 20), 10);
}

/* A window that begins elsewhere lets two bursts of one second through side by side. */
static void windows_begin_at_the_phase(void **state)
{
    struct limit_use use = { 0 };
    int64_t phase = 300000;

    (void)state;
    assert_int_equal(take(&use, phase, START + 299999, 20), 10);
    assert_int_equal(take(&use, phase, START + 300000, 20), 10);
    assert_int_equal(take(&use, phase, START + SECOND, 20), 0);
}

static void a_time_before_the_phase_has_a_window_too(void **state)
{
    struct limit_use use = { 0 };
    int64_t phase = START + 5 * SECOND + 7;

    (void)state;
    assert_int_equal(take(&use, phase, START, 20), 10);
    assert_int_equal(take(&use, phase, START + 8, 20), 10);
}

static void the_wait_reaches_the_end_of_every_full_window(void **state)
{
    struct limit_use use = { 0 };

    (void)state;
    assert_int_equal(take(&use, 0, START + 100, 10), 10);
    assert_int_equal(limit_wait_s(&medium, &use, 0, START + 100), 1);
    assert_int_equal(limit_remaining(&medium, &use, 0, START + 100), 0);
    assert_int_equal(limit_remaining(&medium, &use, 0, START + SECOND), 10);
    assert_int_equal(limit_reset_s(&medium, 0, START + 100), 0);
}

static void the_header_names_every_window(void **state)
{
    static const struct limit daily = { { { 10, 1 }, { 150, 60 }, { 150, 86400 } } };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100);

    (void)state;
    limit_describe(&medium, &out);
    assert_string_equal(out.data, "10, 10;w=1, 150;w=60");
    strbuf_rewind(&out, 0);
    limit_describe(&daily, &out);
    assert_string_equal(out.data, "10, 10;w=1, 150;w=60, 150;w=86400");
}

static void the_busiest_second_and_minute_are_remembered(void **state)
{
    struct traffic traffic = { 0 };

    (void)state;
    for (int i = 0; i < 200; i++) /* five a second for 40 s */
        traffic_arrival(&traffic, START + i * SECOND / 5);
    for (int i = 0; i < 9; i++) /* and nine at once, much later */
        traffic_arrival(&traffic, START + 500 * SECOND);
    assert_int_equal(traffic.max_1s, 9);
    assert_int_equal(traffic.max_60s, 200);
    assert_int_equal(traffic.requests, 209);
    traffic_release(&traffic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_cut_at_the_short_window),
        cmocka_unit_test(the_long_window_counts_what_the_short_one_let_through),
        cmocka_unit_test(windows_begin_at_the_phase),
        cmocka_unit_test(a_time_before_the_phase_has_a_window_too),
        cmocka_unit_test(the_wait_reaches_the_end_of_every_full_window),
        cmocka_unit_test(the_header_names_every_window),
        cmocka_unit_test(the_busiest_second_and_minute_are_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
