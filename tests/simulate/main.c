#include <signal.h>
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/parse.h"
#include "common/secret.h"
#include "tests/simulate/broker.h"
#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/director.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/klaviyo.h"
#include "tests/simulate/process.h"
#include "tests/simulate/threads.h"
#include "tests/simulate/trace.h"

/*
 * simulate [--from SEED] SCHEDULES: plays that many, and says which broke a promise.
 * simulate --seed SEED: plays that one, with its trace.
 */
static char playing[64]; /* "seed 7 crashed", for who crashes */
static size_t playing_len;

static bool play(int64_t seed)
{
    playing_len = (size_t)snprintf(playing, sizeof playing, "seed %lld crashed\n", (long long)seed);
    dice_begin((uint64_t)seed);
    trace_begin();
    fibers_begin();
    descriptors_begin();
    processes_begin();
    connections_begin();
    people_begin();
    database_begin();
    broker_begin();
    klaviyo_begin();
    director_begin();
    (void)fiber_start(NULL, broker_run, NULL);
    (void)fiber_start(NULL, klaviyo_run, NULL);
    (void)fiber_start(NULL, director_run, NULL);
    return fibers_run();
}

/* An assertion of the product, or a crash: it says by itself what, and here of which seed. */
static void say_seed(int signal_number)
{
    (void)!write(STDERR_FILENO, playing, playing_len);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static int64_t play_many(int64_t from, int64_t schedules)
{
    int64_t failed = 0;

    for (int64_t seed = from; seed < from + schedules; seed++) {
        if (play(seed))
            continue;
        failed++;
        (void)printf("seed %lld: %s\n", (long long)seed, trace_broken());
        (void)fflush(stdout);
    }
    return failed;
}

static double seconds(void)
{
    struct timespec now;

    (void)timespec_get(&now, TIME_UTC);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: simulate [--from SEED] SCHEDULES | simulate --seed SEED\n");
    return 2;
}

static int trace_one(int64_t seed)
{
    trace_turn_on(true);
    bool kept = play(seed);
    (void)printf("seed %lld: %s\n", (long long)seed, kept ? "all is well" : trace_broken());
    return kept ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    int64_t from = 1, number;

    if (argc < 2 || !parse_int64(argv[argc - 1], 1, INT64_MAX / 2, &number) ||
        !secret_library_init(&err))
        return usage();
    (void)signal(SIGABRT, say_seed);
    (void)signal(SIGSEGV, say_seed);
    if (argc == 3 && strcmp(argv[1], "--seed") == 0)
        return trace_one(number);
    if (argc == 4 &&
        (strcmp(argv[1], "--from") != 0 || !parse_int64(argv[2], 1, INT64_MAX / 2, &from)))
        return usage();
    double began = seconds();
    int64_t failed = play_many(from, number);
    (void)printf("%lld schedules, %lld broken, %.0f s\n", (long long)number, (long long)failed,
                 seconds() - began);
    return failed > 0;
}
