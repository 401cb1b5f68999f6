#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "tests/unit/diary.h"
#include "worker/export/run.h"
#include "worker/service/blocked_runs.h"
#include "worker/service/slots.h"
#include "worker/store/db.h"
#include "worker/store/key_pairs.h"
#include "worker/store/runs.h"

/* One slot, whose thread meets a database and a run of these: each run is taken once. */
enum { DEADLINE_MS = 30000, FOR_EVER = INT32_MAX };

static struct {
    pthread_mutex_t lock;
    int runs;                 /* to be taken */
    int failing_takes;        /* before the first of them */
    enum error_kind executed; /* how a run ends: NONE, well */
    int away_after;           /* how often the database is not reached after a run */
    int away;                 /* the same, from now on */
    int idle_polls;           /* that found no run */
    int warnings;             /* "take_failed" */
} world = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct run_control control;
static struct run_metrics run_metrics;

static bool reached(struct error *err)
{
    (void)pthread_mutex_lock(&world.lock);
    bool ok = world.away == 0;
    world.away -= !ok;
    (void)pthread_mutex_unlock(&world.lock);
    return ok || error_set(err, ERROR_RETRY, "the database is away");
}

/* Waits are half of what they may be. */
uint32_t __wrap_randombytes_random(void);
uint32_t __wrap_randombytes_random(void)
{
    return UINT32_MAX / 2;
}

bool __wrap_db_open(struct db **out, const struct db_options *options, struct error *err);
bool __wrap_db_open(struct db **out, const struct db_options *options, struct error *err)
{
    (void)options;
    if (!reached(err))
        return false;
    *out = (struct db *)&world; /* which nobody looks into */
    return true;
}

bool __wrap_db_ready(struct db *db, struct error *err);
bool __wrap_db_ready(struct db *db, struct error *err)
{
    (void)db;
    return reached(err);
}

bool __wrap_db_is_up(const struct db *db);
bool __wrap_db_is_up(const struct db *db)
{
    (void)db;
    return true;
}

bool __wrap_db_was_blocked(const struct db *db);
bool __wrap_db_was_blocked(const struct db *db)
{
    (void)db;
    return false;
}

void __wrap_db_set_lock_timeout(struct db *db, int64_t ms);
void __wrap_db_set_lock_timeout(struct db *db, int64_t ms)
{
    (void)db, (void)ms;
}

void __wrap_db_free(struct db *db);
void __wrap_db_free(struct db *db)
{
    (void)db;
}

bool __wrap_key_pairs_note_waiting(struct db *db, int64_t key_pair_id, const char *worker,
                                   int64_t *runs, struct error *err);
bool __wrap_key_pairs_note_waiting(struct db *db, int64_t key_pair_id, const char *worker,
                                   int64_t *runs, struct error *err)
{
    (void)db, (void)key_pair_id, (void)worker, (void)err;
    *runs = 0;
    return true;
}

void __wrap_blocked_runs_poll(struct blocked_runs *blocked, struct db *db, int64_t key_pair_id);
void __wrap_blocked_runs_poll(struct blocked_runs *blocked, struct db *db, int64_t key_pair_id)
{
    (void)blocked, (void)db, (void)key_pair_id;
}

void __wrap_log_write(enum log_level level, const char *event, const struct log_field fields[]);
void __wrap_log_write(enum log_level level, const char *event, const struct log_field fields[])
{
    (void)level, (void)fields;
    world.warnings += strcmp(event, "take_failed") == 0;
}

bool __wrap_runs_take(struct db *db, const struct run_taker *taker, struct run_taken *taken,
                      struct error *err);
bool __wrap_runs_take(struct db *db, const struct run_taker *taker, struct run_taken *taken,
                      struct error *err)
{
    (void)db, (void)taker;
    if (world.failing_takes > 0) {
        world.failing_takes--;
        return error_set(err, ERROR_RETRY, "the database takes nothing");
    }
    *taken = (struct run_taken){ .what = world.runs > 0 ? RUN_TAKE_TASK : RUN_TAKE_NONE };
    if (world.runs > 0) {
        world.runs--;
        taken->task = calloc(1, sizeof *taken->task);
        return taken->task || error_no_memory(err);
    }
    (void)pthread_mutex_lock(&world.lock);
    world.idle_polls++;
    (void)pthread_mutex_unlock(&world.lock);
    return true;
}

bool __wrap_run_execute(const struct run_options *options, struct db *db,
                        const struct run_task *task, int64_t taken_ms, struct error *err);
bool __wrap_run_execute(const struct run_options *options, struct db *db,
                        const struct run_task *task, int64_t taken_ms, struct error *err)
{
    (void)options, (void)db, (void)task, (void)taken_ms;
    diary_note("execute");
    world.away = world.away_after;
    return world.executed == ERROR_NONE || error_set(err, world.executed, "no more");
}

bool __wrap_runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                           struct error *err);
bool __wrap_runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                           struct error *err)
{
    (void)db, (void)task, (void)err;
    diary_note(how == RUN_TROUBLED ? "give-back" : "give-back-mistaken");
    return true;
}

static bool is_idle(void)
{
    (void)pthread_mutex_lock(&world.lock);
    bool idle = world.idle_polls > 0;
    (void)pthread_mutex_unlock(&world.lock);
    return idle;
}

static struct slots *start(int64_t lease_seconds)
{
    static struct settings settings;
    const struct slots_options options = { .settings = &settings,
                                           .control = &control,
                                           .run_metrics = &run_metrics };
    struct error err = ERROR_INIT;

    settings = (struct settings){ .max_runs = 1, .lease_seconds = lease_seconds };
    world.idle_polls = world.warnings = world.away = 0;
    diary_begin(NULL);
    struct slots *slots = slots_start(&options, &err);
    assert_non_null(slots);
    return slots;
}

/* Until the slot has nothing to do any more. */
static void play(int64_t lease_seconds)
{
    struct slots *slots = start(lease_seconds);
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (!is_idle() && clock_ms() < until_ms)
        (void)poll(NULL, 0, 5);
    assert_true(is_idle());
    slots_free(slots);
}

static void a_run_that_was_let_go_is_given_back_at_once_or_when_the_database_is_there(void **state)
{
    static const struct {
        enum error_kind executed;
        int away_after;
        const char *diary;
    } cases[] = {
        { ERROR_NONE, 0, "execute" },
        { ERROR_LOST, 0, "execute" },
        { ERROR_RETRY, 0, "execute give-back" },
        { ERROR_RETRY, 2, "execute give-back" },
        { ERROR_INPUT, 0, "execute give-back-mistaken" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world.runs = 1;
        world.executed = cases[i].executed;
        world.away_after = cases[i].away_after;
        play(60);
        assert_string_equal(diary.text, cases[i].diary);
    }
    world.away_after = 0;
}

static void past_its_lease_it_is_anybodys_and_not_given_back(void **state)
{
    (void)state;
    world.runs = 1;
    world.executed = ERROR_RETRY;
    world.away_after = 1;
    play(0);
    assert_string_equal(diary.text, "execute");
    world.away_after = 0;
}

static void a_slot_whose_database_is_away_ends_all_the_same(void **state)
{
    (void)state;
    world.runs = 1;
    world.executed = ERROR_RETRY;
    world.away_after = FOR_EVER;
    struct slots *slots = start(3600);
    int64_t began_ms = clock_ms();
    while (slots_busy(slots) == 0 && clock_ms() < began_ms + DEADLINE_MS)
        (void)poll(NULL, 0, 5);
    slots_free(slots);
    assert_true(clock_ms() < began_ms + DEADLINE_MS);
    assert_string_equal(diary.text, "execute");
    world.away_after = 0;
}

static void takes_that_go_on_failing_are_said_once(void **state)
{
    (void)state;
    world.runs = 1;
    world.failing_takes = 3;
    world.executed = ERROR_NONE;
    play(60);
    assert_int_equal(world.warnings, 1);
    assert_string_equal(diary.text, "execute");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_that_was_let_go_is_given_back_at_once_or_when_the_database_is_there),
        cmocka_unit_test(past_its_lease_it_is_anybodys_and_not_given_back),
        cmocka_unit_test(a_slot_whose_database_is_away_ends_all_the_same),
        cmocka_unit_test(takes_that_go_on_failing_are_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
