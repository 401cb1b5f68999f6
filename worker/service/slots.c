#include "worker/service/slots.h"

#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/monitor.h"
#include "common/retry.h"
#include "common/wakeup.h"
#include "worker/export/run.h"
#include "worker/service/blocked_runs.h"
#include "worker/store/db.h"
#include "worker/store/key_pairs.h"
#include "worker/store/runs.h"

enum {
    TICK_MS = 200,       /* the longest time a queued run waits for an idle slot */
    TAKE_LOCK_MS = 2000, /* a take skips locked rows; for a locked table it waits this long */
    RECONNECT_MS = 3000, /* within which workers are back after an outage: they retry every 2 s */
    KEY_CHECK_EVERY_MS = 5000, /* for runs that wait for another key pair */
    WARN_EVERY_MS = 60000, /* of such runs, and of a database that stays unreachable or read-only */
};

struct slot {
    struct slots *slots;
    pthread_t thread;
    int wakeup_fd;
    struct db *db;
    unsigned attempts; /* to reach the database, in a row */
    bool take_fails;   /* the last one did */
    int64_t warned_ms; /* when the last failure was logged */
};

struct slots {
    struct slots_options options;
    struct monitor monitor;
    bool polling; /* one of the idle slots polls for runs */
    bool woken;
    bool draining;
    bool stopping;
    atomic_llong recover_from_ms; /* before that nobody else's runs are taken */
    int64_t key_check_ms; /* when runs of other key pairs are looked for; of the polling slot */
    int64_t key_warn_ms;  /* when they may be reported again */
    struct blocked_runs blocked; /* of the polling slot */
    int n;
    struct slot slot[];
};

static void wakeup_signal_all(struct slots *slots)
{
    for (int i = 0; i < slots->n; i++)
        wakeup_signal(slots->slot[i].wakeup_fd);
}

/* ---- idle ---- */

static bool may_poll(const struct slots *slots)
{
    return !slots->draining && !slots->stopping;
}

/* Waits until no other slot polls. False: there is nothing more to poll for. */
static bool begin_to_poll(struct slots *slots)
{
    monitor_enter(&slots->monitor);
    while (!slots->stopping && (slots->polling || slots->draining))
        monitor_wait(&slots->monitor);
    bool go_on = !slots->stopping;
    slots->polling = slots->polling || go_on;
    monitor_leave(&slots->monitor);
    return go_on;
}

/* The polling slot rests: until woken, ms at most. False: it is to stop. */
static bool rest(struct slots *slots, int64_t ms)
{
    int64_t until_ms = clock_ms() + ms;

    monitor_enter(&slots->monitor);
    while (may_poll(slots) && !slots->woken && monitor_wait_until(&slots->monitor, until_ms))
        ;
    slots->woken = false;
    bool go_on = may_poll(slots);
    monitor_leave(&slots->monitor);
    return go_on;
}

static void end_polling(struct slots *slots, bool busy)
{
    monitor_enter(&slots->monitor);
    slots->polling = false;
    (void)atomic_fetch_add(&slots->options.control->busy_slots, busy);
    monitor_notify(&slots->monitor);
    monitor_leave(&slots->monitor);
}

static void run_is_over(struct slots *slots)
{
    struct run_control *control = slots->options.control;

    monitor_enter(&slots->monitor);
    /* Before the slot counts as free, so that nobody sees a free slot that has not polled. */
    atomic_store(&control->run_poll_ms, clock_ms());
    (void)atomic_fetch_sub(&control->busy_slots, 1);
    slots->woken = true; /* its export may have a queued run */
    monitor_notify(&slots->monitor);
    monitor_leave(&slots->monitor);
}

/* ---- the database ---- */

static bool connect_slot(struct slot *slot, struct error *err)
{
    if (slot->db)
        return db_ready(slot->db, err);

    const struct db_options how = { .url = slot->slots->options.settings->database_url,
                                    .name = "klaviyo-worker run",
                                    .service = true };
    return db_open(&slot->db, &how, err);
}

/*
 * After an outage of the database other workers get some time before their runs are
 * taken: they had lost it as well. The time of one renewal, but no more than they need
 * to connect again: long leases still hold.
 */
static void note_outage(struct slots *slots)
{
    int64_t renewal_ms = slots->options.settings->lease_seconds * 1000 / 5;

    atomic_store(&slots->recover_from_ms,
                 clock_ms() + (renewal_ms < RECONNECT_MS ? renewal_ms : RECONNECT_MS));
}

/* The first failure of several is logged, then one now and then. */
static bool may_warn(struct slot *slot, bool first)
{
    int64_t now = clock_ms();

    if (!first && now - slot->warned_ms < WARN_EVERY_MS)
        return false;
    slot->warned_ms = now;
    return true;
}

/* False: not reachable, *pause_ms is how long to wait before the next attempt. */
static bool reach_database(struct slot *slot, int64_t *pause_ms)
{
    struct error err = ERROR_INIT;

    if (connect_slot(slot, &err)) {
        if (slot->attempts > 0)
            note_outage(slot->slots);
        slot->attempts = 0;
        return true;
    }
    slot->attempts++;
    *pause_ms =
        retry_wait_ms((struct retry_policy){ 200, 2000 }, slot->attempts, randombytes_random(), 0);
    if (may_warn(slot, slot->attempts == 1))
        log_warn("database_unavailable", LOG_STR("who", "slot"), LOG_ERROR_OF(&err));
    return false;
}

/* ---- one run ---- */

static bool is_stopping(struct slots *slots)
{
    monitor_enter(&slots->monitor);
    bool stopping = slots->stopping;
    monitor_leave(&slots->monitor);
    return stopping;
}

/*
 * What could not be written is given back as soon as the database is reachable,
 * so that nobody waits for the lease to end; after that it is over anyway.
 */
static void give_back(struct slot *slot, const struct run_task *task, enum run_give_back how)
{
    int64_t until_ms = clock_ms() + slot->slots->options.settings->lease_seconds * 1000;
    struct error err = ERROR_INIT;
    int64_t pause_ms;

    while (!reach_database(slot, &pause_ms)) {
        if (is_stopping(slot->slots) || clock_ms() + pause_ms > until_ms)
            return;
        (void)poll(NULL, 0, (int)pause_ms);
    }
    if (!runs_give_back(slot->db, task, how, &err) && err.kind == ERROR_LOST)
        run_note_ended(slot->slots->options.run_metrics, slot->db, task);
}

static void execute(struct slot *slot, const struct run_task *task, int64_t taken_ms)
{
    const struct slots_options *o = &slot->slots->options;
    struct run_options options = { .settings = o->settings,
                                   .pair = o->pair,
                                   .user_agent = o->user_agent,
                                   .control = o->control,
                                   .run_metrics = o->run_metrics,
                                   .wakeup_fd = slot->wakeup_fd };
    struct error err = ERROR_INIT;

    if (run_execute(&options, slot->db, task, taken_ms, &err) || err.kind == ERROR_LOST)
        return;
    if (!slot->db || !db_is_up(slot->db))
        note_outage(slot->slots);
    give_back(slot, task, err.kind == ERROR_RETRY ? RUN_TROUBLED : RUN_MISTAKEN);
}

/* Long runs never hold all slots: the last one is kept for short ones. */
static bool is_last_free(struct slots *slots)
{
    int64_t all = slots->options.settings->max_runs; /* n counts up while they start */

    return all > 1 && slots_busy(slots) == all - 1;
}

enum run_poll {
    RUN_POLL_FOUND,
    RUN_POLL_NOTHING,
    RUN_POLL_FAILED,
    RUN_POLL_UNREACHABLE, /* the database */
};

static enum run_poll take_failed(struct slot *slot, const struct error *err)
{
    if (db_was_blocked(slot->db))
        blocked_runs_take_failed(&slot->slots->blocked, slot->db);
    else if (may_warn(slot, !slot->take_fails))
        log_warn("take_failed", LOG_ERROR_OF(err));
    slot->take_fails = true;
    return RUN_POLL_FAILED;
}

static enum run_poll acquire_run(struct slot *slot, struct run_task **task)
{
    const struct slots_options *o = &slot->slots->options;
    struct run_taker taker = { .worker = o->worker,
                               .lease_ms = o->settings->lease_seconds * 1000,
                               .key_pair_id = o->key_pair_id,
                               .recover = clock_ms() >= slot->slots->recover_from_ms,
                               .short_only = is_last_free(slot->slots) };
    struct run_taken taken = { .what = RUN_TAKE_CLOSED };
    struct error err = ERROR_INIT;

    db_set_lock_timeout(slot->db, TAKE_LOCK_MS); /* of what is asked while it polls, too */
    while (taken.what == RUN_TAKE_CLOSED) {
        if (!runs_take(slot->db, &taker, &taken, &err))
            return take_failed(slot, &err);
        if (taken.what == RUN_TAKE_CLOSED)
            run_note_closed(o->run_metrics, &taken.closed);
    }
    slot->take_fails = false;
    if (taken.what == RUN_TAKE_NONE)
        return RUN_POLL_NOTHING;
    *task = taken.task;
    db_set_lock_timeout(slot->db, DB_LOCK_TIMEOUT_MS);
    return RUN_POLL_FOUND;
}

/* One poll. *pause_ms: how long to rest before the next one. */
static enum run_poll poll_for_run(struct slot *slot, struct run_task **task, int64_t *pause_ms)
{
    *pause_ms = TICK_MS;
    atomic_store(&slot->slots->options.control->run_poll_ms, clock_ms());
    return reach_database(slot, pause_ms) ? acquire_run(slot, task) : RUN_POLL_UNREACHABLE;
}

static void say_other_keys(struct slots *slots, int64_t runs)
{
    if (runs == 0)
        slots->key_warn_ms = 0;
    if (runs == 0 || clock_ms() < slots->key_warn_ms)
        return;
    slots->key_warn_ms = clock_ms() + WARN_EVERY_MS;
    log_error("runs_wait_for_key", LOG_INT("runs", runs),
              LOG_INT("key_pair", slots->options.key_pair_id));
}

/* The key pair was replaced, and this worker still has the old one: it takes none of these. */
static void report_other_keys(struct slot *slot)
{
    struct slots *slots = slot->slots;
    struct error err = ERROR_INIT;
    int64_t runs;

    if (!slot->db || clock_ms() < slots->key_check_ms)
        return;
    slots->key_check_ms = clock_ms() + KEY_CHECK_EVERY_MS;
    if (!key_pairs_note_waiting(slot->db, slots->options.key_pair_id, slots->options.worker, &runs,
                                &err))
        log_warn("key_check_failed", LOG_ERROR_OF(&err));
    else
        say_other_keys(slots, runs);
}

/*
 * Polls until there is a run. A slot without a connection lets another one poll: that
 * one may have a connection when the server accepts no more.
 */
static bool poll_until_found(struct slot *slot, struct run_task **task, int64_t *taken_ms,
                             int64_t *pause_ms)
{
    *pause_ms = 0;
    while (rest(slot->slots, *pause_ms)) {
        *taken_ms = clock_ms();
        enum run_poll found = poll_for_run(slot, task, pause_ms);
        if (found == RUN_POLL_FOUND || found == RUN_POLL_UNREACHABLE)
            return found == RUN_POLL_FOUND;
        if (found == RUN_POLL_FAILED)
            continue;
        report_other_keys(slot);
        blocked_runs_poll(&slot->slots->blocked, slot->db, slot->slots->options.key_pair_id);
    }
    *pause_ms = 0;
    return false;
}

static void *slot_main(void *argument)
{
    struct slot *slot = argument;

    while (begin_to_poll(slot->slots)) {
        CLEANUP(run_task_freep) struct run_task *task = NULL;
        int64_t taken_ms, pause_ms;
        bool found = poll_until_found(slot, &task, &taken_ms, &pause_ms);

        end_polling(slot->slots, found);
        if (found) {
            execute(slot, task, taken_ms);
            run_is_over(slot->slots);
        } else {
            (void)poll(NULL, 0, (int)pause_ms);
        }
    }
    db_free(slot->db);
    return NULL;
}

/* ---- all of them ---- */

static bool slot_start(struct slots *slots, struct slot *slot, struct error *err)
{
    slot->slots = slots;
    slot->wakeup_fd = wakeup_open(err);
    if (slot->wakeup_fd < 0)
        return false;
    int failed = pthread_create(&slot->thread, NULL, slot_main, slot);
    if (failed) {
        (void)close(slot->wakeup_fd);
        return error_set(err, ERROR_FATAL, "no thread for a run slot (error %d)", failed);
    }
    return true;
}

static struct slots *slots_new(const struct slots_options *options)
{
    size_t n = (size_t)options->settings->max_runs;
    struct slots *slots = calloc(1, sizeof *slots + n * sizeof slots->slot[0]);

    if (!slots)
        return NULL;
    slots->options = *options;
    slots->blocked.control = options->control;
    slots->blocked.run_metrics = options->run_metrics;
    monitor_init(&slots->monitor);
    return slots;
}

struct slots *slots_start(const struct slots_options *options, struct error *err)
{
    CLEANUP(slots_freep) struct slots *slots = slots_new(options);

    if (!slots) {
        error_no_memory(err);
        return NULL;
    }
    for (int64_t i = 0; i < options->settings->max_runs; i++) {
        if (!slot_start(slots, &slots->slot[i], err))
            return NULL;
        slots->n++;
    }
    return slots_take(&slots);
}

void slots_wake(struct slots *slots)
{
    monitor_enter(&slots->monitor);
    slots->woken = true;
    monitor_notify(&slots->monitor);
    monitor_leave(&slots->monitor);
}

void slots_drain(struct slots *slots, int64_t deadline_ms)
{
    monitor_enter(&slots->monitor);
    slots->draining = true;
    monitor_notify(&slots->monitor);
    monitor_leave(&slots->monitor);
    atomic_store(&slots->options.control->drain_ms, deadline_ms);
    wakeup_signal_all(slots);
}

void slots_cancel(struct slots *slots)
{
    atomic_store(&slots->options.control->cut_off, true);
    wakeup_signal_all(slots);
}

int slots_busy(struct slots *slots)
{
    return (int)atomic_load(&slots->options.control->busy_slots);
}

void slots_free(struct slots *slots)
{
    if (!slots)
        return;
    monitor_enter(&slots->monitor);
    slots->stopping = true;
    monitor_notify(&slots->monitor);
    monitor_leave(&slots->monitor);
    slots_cancel(slots);
    for (int i = 0; i < slots->n; i++) {
        (void)pthread_join(slots->slot[i].thread, NULL);
        (void)close(slots->slot[i].wakeup_fd);
    }
    monitor_release(&slots->monitor);
    free(slots);
}
