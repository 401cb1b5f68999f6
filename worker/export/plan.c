#include "worker/export/plan.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/retry.h"
#include "common/wakeup.h"
#include "worker/export/member_scan.h"

enum {
    STOP_AGAIN_MS = 20,
    CONNECT_MS = 10 * 1000, /* for a snapshot's transaction to get a connection of a pool */
    SPARE_MS = 250,         /* for a response on the other one meanwhile */
    PAUSE_MIN_MS = 200,     /* between attempts, for others that need the pool */
    GATE_MS = 1000,         /* a longer wait for other plans is worth a log line */
    STOP_POLL_MS = 50,      /* how soon a stop is seen while waiting */
    WARN_EVERY_MS = 60 * 1000,
};

static const struct retry_policy connect_policy = { .base_ms = 400, .cap_ms = 2000 };

/* Counts that the deliverer reads while the planner writes. */
struct shown_counts {
    atomic_llong read, invalid, duplicate, unchanged, selected, gone, left, there, batches;
};

struct plan {
    struct plan_options options;
    pthread_t thread;
    atomic_bool stop, ended;
    atomic_llong waiting_since_ms; /* 0: it does not wait */
    struct shown_counts shown;
    pthread_mutex_t facts_lock;
    struct guards_facts facts;
    enum plan_outcome outcome;
    struct error why;

    pthread_mutex_t cancellers_lock;
    struct db_canceller *cancel_members, *cancel_ledger, *cancel_outbox;
};

static void show_counts(struct plan *plan, const struct run_counts *counts)
{
    atomic_store_explicit(&plan->shown.read, counts->read, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.invalid, counts->invalid, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.duplicate, counts->duplicate, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.unchanged, counts->unchanged, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.selected, counts->selected, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.gone, counts->gone, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.left, counts->left, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.there, counts->there, memory_order_relaxed);
}

static void note_facts(struct plan *plan, const struct selection *selection, bool read_all)
{
    struct guards_facts *facts = &plan->facts;

    (void)pthread_mutex_lock(&plan->facts_lock);
    facts->seen = selection->seen;
    facts->read_all = read_all;
    facts->read = selection_members(selection);
    facts->invalid = selection->counts.invalid;
    facts->distinct = selection_distinct(selection);
    facts->fresh = selection->fresh;
    memcpy(facts->invalid_by, selection->invalid_by, sizeof facts->invalid_by);
    (void)pthread_mutex_unlock(&plan->facts_lock);
}

/* The last batch is in the outbox: where no guard trips it may go at once. */
static void all_is_read(struct plan *plan, const struct selection *selection)
{
    show_counts(plan, &selection->counts);
    note_facts(plan, selection, true);
    wakeup_signal(plan->options.wakeup_fd);
}

/* Where no more of them can trip a guard, the first batch may go at once. */
static void members_counted(void *opaque, const struct member_count *count)
{
    struct plan *plan = opaque;

    (void)pthread_mutex_lock(&plan->facts_lock);
    plan->facts.expected = count->members;
    plan->facts.doubt_counted = count->doubt_counted;
    plan->facts.doubtful = count->doubtful;
    (void)pthread_mutex_unlock(&plan->facts_lock);
    log_debug("members_counted", LOG_INT("run", plan->options.task->run_id),
              LOG_STR("export", plan->options.task->export_name),
              LOG_INT("members", count->members),
              LOG_INT("doubtful", count->doubt_counted ? count->doubtful : -1));
}

static void batch_planned(void *opaque)
{
    struct plan *plan = opaque;

    atomic_fetch_add(&plan->shown.batches, 1);
    wakeup_signal(plan->options.wakeup_fd);
}

static bool may_go_on(void *opaque, const struct selection *selection)
{
    struct plan *plan = opaque;

    show_counts(plan, &selection->counts);
    note_facts(plan, selection, false);
    return !atomic_load(&plan->stop);
}

static void share_cancellers(struct plan *plan, struct member_scan *scan)
{
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    plan->cancel_members = db_canceller_new(scan->members_db);
    plan->cancel_ledger = db_canceller_new(scan->ledger_db);
    plan->cancel_outbox = db_canceller_new(scan->writer.outbox_db);
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

static void take_back_cancellers(struct plan *plan)
{
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    db_canceller_free(db_canceller_take(&plan->cancel_members));
    db_canceller_free(db_canceller_take(&plan->cancel_ledger));
    db_canceller_free(db_canceller_take(&plan->cancel_outbox));
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

/* ---- connections ---- */

/*
 * Of the plans of this process one at a time collects connections, and for one
 * attempt only: a plan that gets none keeps no other from trying.
 */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void close_connections(struct member_scan *scan)
{
    db_free(db_take(&scan->members_db));
    db_free(db_take(&scan->ledger_db));
    db_free(db_take(&scan->writer.outbox_db));
}

static bool open_connections(const struct plan *plan, struct member_scan *scan, struct error *err)
{
    const struct db_options how = { .url = plan->options.database_url,
                                    .name = "klaviyo-worker plan",
                                    .service = true };
    struct db **const all[] = { &scan->members_db, &scan->ledger_db, &scan->writer.outbox_db };

    return db_open_together(all, 3, &how, err);
}

/*
 * How long the snapshot may be held while the other connections are asked for: where
 * there are some they come at once. More with each attempt, for a slow server, but
 * little of the lease, which must be renewed through the same pool.
 */
static int64_t spare_ms(const struct plan *plan, unsigned attempt)
{
    int64_t most_ms = plan->options.lease_ms / 15, ms = (int64_t)attempt * SPARE_MS;

    if (most_ms < SPARE_MS)
        most_ms = SPARE_MS;
    return ms < most_ms ? ms : most_ms;
}

static void limit_responses(const struct member_scan *scan, int64_t first_ms, int64_t others_ms)
{
    db_set_response_timeout(scan->members_db, first_ms);
    db_set_response_timeout(scan->ledger_db, others_ms);
    db_set_response_timeout(scan->writer.outbox_db, others_ms);
}

/*
 * One snapshot on two of them, and a response on the third while it is held: then at
 * least one connection of a pool is left over for the writes of all. In this order, as
 * waiting for the first holds nothing.
 */
static bool hold_connections(const struct plan *plan, struct member_scan *scan, unsigned attempt,
                             struct error *err)
{
    char snapshot[SNAPSHOT_BYTES];
    int32_t backends[PLAN_BACKENDS];

    limit_responses(scan, CONNECT_MS, spare_ms(plan, attempt));
    if (!db_begin_snapshot(scan->members_db, err) ||
        !db_export_snapshot(scan->members_db, snapshot, err) ||
        !db_backend(scan->members_db, &backends[0], err) ||
        !db_join_snapshot(scan->ledger_db, snapshot, err) ||
        !db_backend(scan->ledger_db, &backends[1], err) ||
        !batch_writer_begin(&scan->writer, backends, err))
        return false;
    limit_responses(scan, 0, 0);
    return true;
}

static void warn_of_waiting(const struct plan *plan, int64_t *warn_ms, const struct error *err)
{
    if (clock_ms() < *warn_ms)
        return;
    *warn_ms = clock_ms() + WARN_EVERY_MS;
    log_warn("plan_waits_for_connections", LOG_INT("run", plan->options.task->run_id),
             LOG_STR("export", plan->options.task->export_name), LOG_ERROR_OF(err),
             LOG_STR("trace", plan->options.task->traceparent));
}

static void start_waiting(struct plan *plan)
{
    if (atomic_load(&plan->waiting_since_ms) > 0)
        return;
    atomic_store(&plan->waiting_since_ms, clock_ms());
    wakeup_signal(plan->options.wakeup_fd);
}

static void end_waiting(struct plan *plan)
{
    if (atomic_exchange(&plan->waiting_since_ms, 0) > 0)
        wakeup_signal(plan->options.wakeup_fd);
}

static bool is_stopped(const struct plan *plan, struct error *err)
{
    return atomic_load(&plan->stop) && (error_set(err, ERROR_LOST, "the plan was stopped"), true);
}

static bool pause_plan(const struct plan *plan, unsigned attempt, struct error *err)
{
    int64_t until_ms =
        clock_ms() + retry_wait_ms(connect_policy, attempt, randombytes_random(), PAUSE_MIN_MS);

    while (clock_ms() < until_ms && !atomic_load(&plan->stop))
        (void)poll(NULL, 0, STOP_POLL_MS);
    return !is_stopped(plan, err);
}

/* False: stopped. */
static bool enter_gate(struct plan *plan, struct error *err)
{
    int64_t began_ms = clock_ms();

    while (pthread_mutex_trylock(&gate) != 0) {
        if (is_stopped(plan, err))
            return false;
        if (clock_ms() - began_ms > GATE_MS)
            start_waiting(plan);
        (void)poll(NULL, 0, STOP_POLL_MS);
    }
    return true;
}

static bool try_connections(struct plan *plan, struct member_scan *scan, unsigned attempt,
                            struct error *err)
{
    if (!enter_gate(plan, err))
        return false;
    bool ok = open_connections(plan, scan, err) && hold_connections(plan, scan, attempt, err);
    if (!ok)
        close_connections(scan);
    (void)pthread_mutex_unlock(&gate);
    return ok;
}

/* Tries until it has them: the database may be unreachable, or the pool in use. */
static bool connect(struct plan *plan, struct member_scan *scan, struct error *err)
{
    int64_t warn_ms = 0;
    struct error why = ERROR_INIT;

    for (unsigned attempt = 1; !try_connections(plan, scan, attempt, &why); attempt++) {
        if (why.kind != ERROR_RETRY)
            return error_set(err, why.kind, "%s", why.text);
        warn_of_waiting(plan, &warn_ms, &why);
        start_waiting(plan);
        if (!pause_plan(plan, attempt, err))
            return false;
        why = ERROR_INIT;
    }
    end_waiting(plan);
    share_cancellers(plan, scan);
    return true;
}

static enum plan_outcome conclude(struct plan *plan, enum plan_outcome outcome,
                                  const struct error *err)
{
    plan->why = *err;
    if (outcome == PLAN_INTERRUPTED)
        log_info("plan_interrupted", LOG_INT("run", plan->options.task->run_id), LOG_ERROR_OF(err));
    return outcome;
}

/* Attributes are Klaviyo's names, from its table: no text of the site is logged. */
static void log_values_left_out(const struct run_task *task, const struct mapping *mapping)
{
    for (size_t i = 0; i < task->n_fields; i++) {
        struct mapping_count count = mapping_count(mapping, i);

        if (count.no_text > 0)
            log_warn("values_left_out", LOG_INT("run", task->run_id),
                     LOG_STR("export", task->export_name),
                     LOG_STR("attribute", task->fields[i].name), LOG_INT("rows", count.no_text));
    }
}

static enum plan_outcome run_pass(struct plan *plan, struct member_scan *scan)
{
    struct error err = ERROR_INIT;

    if (!connect(plan, scan, &err))
        return conclude(plan, PLAN_INTERRUPTED, &err);
    /* Only reading the members can fail for good: that is the site's side. */
    if (!member_scan_read(scan, &err))
        return conclude(plan, err.kind == ERROR_INPUT ? PLAN_SOURCE_UNREADABLE : PLAN_INTERRUPTED,
                        &err);
    all_is_read(plan, &scan->selection);
    log_values_left_out(scan->task, scan->mapping);
    if (!runs_end_plan(scan->writer.outbox_db, scan->task, &scan->selection.counts, &err))
        return conclude(plan, PLAN_INTERRUPTED, &err);
    return PLAN_DONE;
}

static void *plan_main(void *argument)
{
    struct plan *plan = argument;
    const struct scan_observer observer = {
        .opaque = plan, .counted = members_counted, .planned = batch_planned, .go_on = may_go_on
    };
    struct member_scan scan;
    struct error err = ERROR_INIT;

    if (member_scan_init(&scan, plan->options.task, &observer, &err))
        plan->outcome = run_pass(plan, &scan);
    else
        plan->outcome = conclude(plan, PLAN_INTERRUPTED, &err);
    take_back_cancellers(plan);
    member_scan_release(&scan);
    atomic_store(&plan->ended, true);
    wakeup_signal(plan->options.wakeup_fd);
    return NULL;
}

struct plan *plan_start(const struct plan_options *options, struct error *err)
{
    struct plan *plan = calloc(1, sizeof *plan);

    if (!plan) {
        error_no_memory(err);
        return NULL;
    }
    plan->options = *options;
    plan->facts.expected = -1;
    (void)pthread_mutex_init(&plan->cancellers_lock, NULL);
    (void)pthread_mutex_init(&plan->facts_lock, NULL);
    int failed = pthread_create(&plan->thread, NULL, plan_main, plan);
    if (failed) {
        error_set(err, ERROR_RETRY, "no thread for the plan of a run (error %d)", failed);
        (void)pthread_mutex_destroy(&plan->cancellers_lock);
        (void)pthread_mutex_destroy(&plan->facts_lock);
        free(plan);
        return NULL;
    }
    return plan;
}

void plan_stop(struct plan *plan)
{
    atomic_store(&plan->stop, true);
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    if (plan->cancel_members)
        db_canceller_fire(plan->cancel_members);
    if (plan->cancel_ledger)
        db_canceller_fire(plan->cancel_ledger);
    if (plan->cancel_outbox)
        db_canceller_fire(plan->cancel_outbox);
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

struct guards_facts plan_facts(struct plan *plan)
{
    (void)pthread_mutex_lock(&plan->facts_lock);
    struct guards_facts facts = plan->facts;
    (void)pthread_mutex_unlock(&plan->facts_lock);
    return facts;
}

int64_t plan_waiting_since_ms(const struct plan *plan)
{
    return atomic_load(&plan->waiting_since_ms);
}

bool plan_has_ended(const struct plan *plan)
{
    return atomic_load(&plan->ended);
}

enum plan_outcome plan_result(const struct plan *plan, struct error *why)
{
    assert(plan_has_ended(plan));
    *why = plan->why;
    return plan->outcome;
}

struct run_counts plan_counts(const struct plan *plan)
{
    const struct shown_counts *s = &plan->shown;

    return (struct run_counts){
        .read = atomic_load_explicit(&s->read, memory_order_relaxed),
        .invalid = atomic_load_explicit(&s->invalid, memory_order_relaxed),
        .duplicate = atomic_load_explicit(&s->duplicate, memory_order_relaxed),
        .unchanged = atomic_load_explicit(&s->unchanged, memory_order_relaxed),
        .selected = atomic_load_explicit(&s->selected, memory_order_relaxed),
        .gone = atomic_load_explicit(&s->gone, memory_order_relaxed),
        .left = atomic_load_explicit(&s->left, memory_order_relaxed),
        .there = atomic_load_explicit(&s->there, memory_order_relaxed),
    };
}

int64_t plan_batches(const struct plan *plan)
{
    return atomic_load(&plan->shown.batches);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    /* More than once: a cancel between two statements cancels nothing. */
    while (!plan_has_ended(plan)) {
        plan_stop(plan);
        (void)poll(NULL, 0, STOP_AGAIN_MS);
    }
    (void)pthread_join(plan->thread, NULL);
    (void)pthread_mutex_destroy(&plan->cancellers_lock);
    (void)pthread_mutex_destroy(&plan->facts_lock);
    free(plan);
}
