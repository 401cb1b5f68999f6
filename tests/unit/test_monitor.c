#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/monitor.h"

enum { ENOUGH_MS = 20000, SOON_MS = 20 };

/* A turn that two threads take by a monitor. */
struct game {
    struct monitor monitor;
    int turn;
};

static void take_turn(struct game *game, int mine)
{
    int64_t until_ms = clock_ms() + ENOUGH_MS;

    monitor_enter(&game->monitor);
    while (game->turn != mine && monitor_wait_until(&game->monitor, until_ms))
        ;
    assert_int_equal(game->turn, mine);
    game->turn++;
    monitor_notify(&game->monitor);
    monitor_leave(&game->monitor);
}

static void *play_odd(void *game)
{
    for (int turn = 1; turn < 100; turn += 2)
        take_turn(game, turn);
    return NULL;
}

static void who_waits_is_told_of_a_change(void **state)
{
    struct game game = { .turn = 0 };
    pthread_t other;

    (void)state;
    monitor_init(&game.monitor);
    assert_int_equal(pthread_create(&other, NULL, play_odd, &game), 0);
    for (int turn = 0; turn < 100; turn += 2)
        take_turn(&game, turn);
    (void)pthread_join(other, NULL);
    assert_int_equal(game.turn, 100);
    monitor_release(&game.monitor);
}

static void *change_it(void *argument)
{
    struct game *game = argument;

    monitor_enter(&game->monitor);
    game->turn = 1;
    monitor_notify(&game->monitor);
    monitor_leave(&game->monitor);
    return NULL;
}

static void without_a_limit_it_waits_until_then(void **state)
{
    static struct game game = { .monitor = MONITOR_INIT };
    pthread_t other;

    (void)state;
    assert_int_equal(pthread_create(&other, NULL, change_it, &game), 0);
    monitor_enter(&game.monitor);
    while (game.turn == 0)
        monitor_wait(&game.monitor);
    monitor_leave(&game.monitor);
    (void)pthread_join(other, NULL);
}

static void nothing_is_waited_for_longer_than_allowed(void **state)
{
    struct monitor monitor = MONITOR_INIT;
    int64_t until_ms = clock_ms() + SOON_MS;

    (void)state;
    monitor_enter(&monitor);
    while (monitor_wait_until(&monitor, until_ms))
        ;
    assert_true(clock_ms() >= until_ms);
    assert_false(monitor_wait_until(&monitor, clock_ms()));
    assert_false(monitor_wait_until(&monitor, 0));
    monitor_leave(&monitor);
    monitor_release(&monitor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_is_told_of_a_change),
        cmocka_unit_test(without_a_limit_it_waits_until_then),
        cmocka_unit_test(nothing_is_waited_for_longer_than_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
