#include "tests/simulate/director.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/broker.h"
#include "tests/simulate/checks.h"
#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/klaviyo.h"
#include "tests/simulate/people.h"
#include "tests/simulate/process.h"
#include "tests/simulate/threads.h"
#include "tests/simulate/trace.h"

enum {
    STEPS_MAX = 16,
    STEP_MS = 1500,
    ROUNDS = 2,
    QUIET_MS = 600 * 1000, /* of the simulated clock: whatever waits for longer waits for ever */
    EVENT_IDS = 100,
};

static bool calm;
static int n_events;

void director_begin(void)
{
    calm = dice(8) == 0;
    n_events = 0;
    if (calm)
        for (int i = 0; i < PEOPLE; i++)
            people[i].dislike = LIKED;
    dice_keep_delays_short(calm);
    connections_break(calm ? 0 : (int)dice(4) * (int)dice(8));
    klaviyo_troubles(calm ? 0 : (int)dice(4) * 50);
    producers_begin(calm ? 0 : (int)dice(3) * 50);
    rate_limits_begin(calm ? 0 : (int)dice(3) * 40);
}

/* ---- the site and its publishers ---- */

static void publish(int segment, const char *more)
{
    struct broker_record *record = broker_append(segment % PARTITIONS);

    if (!record)
        return;
    record->segment = segment;
    record->event = n_events + 1 < EVENT_IDS ? ++n_events : 0;
    (void)snprintf(record->value, sizeof record->value,
                   "{\"segment_id\":\"s%02d\",\"refresh_id\":\"r\",\"refreshed_at\":"
                   "\"2026-11-24T08:00:47Z\"%s}",
                   segment, more);
    trace("segment s%02d is refreshed: partition %d, offset %d%s", segment, segment % PARTITIONS,
          (int)broker_partitions[segment % PARTITIONS].n - 1, more);
    broker_published();
}

static void publish_any(void)
{
    publish((int)dice(SEGMENTS), dice(6) ? "" : ",\"full\":true");
}

/* The publisher's retry: the same event in another record. */
static void publish_again(void)
{
    int p = (int)dice(PARTITIONS);
    struct broker_partition *partition = &broker_partitions[p];

    if (partition->n == 0 || partition->n == RECORDS_MAX)
        return;
    struct broker_record copy = partition->records[dice(partition->n)];
    struct broker_record *record = broker_append(p);
    copy.timestamp_ms = record->timestamp_ms;
    copy.ended = false;
    *record = copy;
    trace("event %d is published again: partition %d, offset %d", copy.event, p,
          (int)partition->n - 1);
    broker_published();
}

static void publish_nonsense(void)
{
    int p = (int)dice(PARTITIONS);
    struct broker_record *record = broker_append(p);

    if (!record)
        return;
    record->tombstone = dice(2) == 0;
    (void)snprintf(record->value, sizeof record->value, "nonsense");
    trace("a %s: partition %d, offset %d", record->tombstone ? "tombstone" : "record of nonsense",
          p, (int)broker_partitions[p].n - 1);
    broker_published();
}

static void change_people(void)
{
    int segment = (int)dice(SEGMENTS);

    for (int n = 1 + (int)dice(3); n > 0; n--) {
        struct person *person = &people[dice(PEOPLE)];

        if (dice(2))
            person->segments ^= 1U << segment;
        else
            person->value++;
    }
    publish(segment, "");
}

/* ---- commands ---- */

static void pause_or_resume(void)
{
    int export = (int)dice(EXPORTS);

    database_pause(export, !database.exports[export].paused);
}

static void cancel_run(void)
{
    if (database.n_runs > 0)
        database_cancel(1 + dice(database.n_runs));
}

static void refuse_key(void)
{
    if (dice(3) == 0)
        klaviyo_refuse_key((int)dice(ACCOUNTS), true);
}

/* connection rotate-key */
static void replace_key(int account)
{
    klaviyo_refuse_key(account, false);
    database.accounts[account].needs_attention = false;
    database.accounts[account].key = (database.accounts[account].key + 1) % 10;
}

static void replace_any_key(void)
{
    replace_key((int)dice(ACCOUNTS));
}

/* ---- trouble ---- */

static struct process *any_process(void)
{
    struct process *process = process_at((int)dice(PROCESSES));

    return process && !process->dead && !process->stopping ? process : NULL;
}

static void kill_process(void)
{
    struct process *process = any_process();

    if (process)
        process_kill(process);
}

static void freeze_process(void)
{
    struct process *process = any_process();

    if (process)
        process_freeze(process, dice(dice(3) ? LEASE_MS : 4 * LEASE_MS));
}

static void stop_process(void)
{
    struct process *process = any_process();

    if (process)
        process_stop(process);
}

static void start_process(void)
{
    if (processes_alive() < PROCESSES)
        (void)process_start();
}

static void take_database_away(void)
{
    connections_are_away(dice(dice(3) ? LEASE_MS : 3 * LEASE_MS));
}

static void take_broker_away(void)
{
    broker_is_away(dice(6000));
}

static void take_klaviyo_away(void)
{
    klaviyo_is_away(dice(dice(3) ? 3000 : 15 * 1000));
}

static void lock_export(void)
{
    int export = (int)dice(EXPORTS);

    trace("somebody locks e%d", export);
    database.exports[export].locked_until_ms = fiber_now_ms() + dice(4000);
}

static void set_clock(void)
{
    trace("the time of day is set");
    utc_set_back(dice(2) ? 3600 * 1000 : -3600 * 1000);
}

/* Only while nothing is under way: what was committed in between is nobody's fault. */
static void make_topic_again(void)
{
    if (broker_is_done())
        broker_make_topic_again();
}

static void (*const ordinary[])(void) = {
    publish_any,   publish_any,   change_people,    change_people,
    change_people, publish_again, publish_nonsense,
};

static void (*const troubles[])(void) = {
    kill_process,     kill_process,      freeze_process,   freeze_process,   stop_process,
    start_process,    start_process,     broker_rebalance, broker_rebalance, take_database_away,
    take_broker_away, take_klaviyo_away, lock_export,      set_clock,        pause_or_resume,
    cancel_run,       refuse_key,        replace_any_key,  make_topic_again,
};

#define ANY(table) (table)[dice((int64_t)(sizeof(table) / sizeof(table)[0]))]

/* ---- the course of a schedule ---- */

static void let_things_happen(void)
{
    for (int n = 3 + (int)dice(STEPS_MAX); n > 0; n--) {
        if (calm || dice(2))
            ANY(ordinary)();
        else
            ANY(troubles)();
        fiber_sleep(dice(dice(4) ? STEP_MS / 4 : 2 * STEP_MS));
    }
}

/* From here on nothing fails any more. */
static void end_trouble(void)
{
    struct process *process;

    trace("all trouble ends");
    dice_keep_delays_short(true);
    connections_break(0);
    klaviyo_troubles(0);
    producers_begin(0);
    rate_limits_begin(0);
    for (int i = 0; i < ACCOUNTS; i++)
        replace_key(i);
    for (int i = 0; i < EXPORTS; i++)
        if (database.exports[i].paused)
            database_pause(i, false);
    for (int i = 0; i < PEOPLE; i++)
        if (people[i].dislike == FAILS_UNNAMED)
            people[i].dislike = LIKED;
    for (int i = 0; (process = process_at(i)); i++)
        process->frozen_until_ms = 0;
    while (processes_alive() < 1)
        (void)process_start();
}

static bool is_quiet(void)
{
    return broker_is_done() && database_open() == 0 && klaviyo_is_quiet();
}

static void wait_until_quiet(void)
{
    int64_t until_ms = fiber_now_ms() + QUIET_MS;

    while (!is_quiet()) {
        must(fiber_now_ms() < until_ms, "nothing goes on: broker %s, %d rows open, Klaviyo %s",
             broker_is_done() ? "done" : "waits", database_open(),
             klaviyo_is_quiet() ? "quiet" : "works");
        fiber_sleep(500);
    }
}

/* Twice: what an import without a response brought is sent once more when it must have ended. */
static void refresh_all(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        wait_until_quiet();
        if (round > 0)
            fiber_sleep(RETRY_BUDGET_MS / 2 + 5000);
        for (int s = 0; s < SEGMENTS; s++)
            publish(s, "");
        wait_until_quiet();
    }
}

static void stop_all(void)
{
    struct process *process;

    for (int i = 0; (process = process_at(i)); i++)
        process_stop(process);
    while (process_at(0))
        fiber_sleep(500);
    broker_stop();
    klaviyo_stop();
}

void *director_run(void *unused)
{
    for (int i = 0; i < PROCESSES; i++)
        (void)process_start();
    let_things_happen();
    end_trouble();
    refresh_all();
    check_end();
    if (calm)
        check_calm();
    stop_all();
    return unused;
}
