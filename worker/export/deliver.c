#include "worker/export/deliver.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/export/deliver_state.h"

enum {
    WAITING_MS = 500,     /* a shorter wait for a limit is not worth telling */
    TELL_COUNTS_MS = 1000 /* while the plan reads, its counts are told so often */
};

/* ---- how it ends ---- */

static void end(struct deliver *d, enum deliver_outcome outcome)
{
    d->result->outcome = outcome;
    d->over = true;
}

void deliver_fail(struct deliver *d, const char *reason, const char *fmt, ...)
{
    va_list args;

    if (d->over)
        return;
    d->result->reason = reason;
    va_start(args, fmt);
    (void)vsnprintf(d->result->detail, sizeof d->result->detail, fmt, args);
    va_end(args);
    end(d, DELIVER_FAILED);
}

void deliver_let_go(struct deliver *d, const struct error *err)
{
    if (d->over)
        return;
    (void)snprintf(d->result->detail, sizeof d->result->detail, "%s", err->text);
    d->result->let_go_kind = err->kind;
    if (err->kind == ERROR_LOST)
        (void)atomic_fetch_add(&d->options->control->leases_lost, 1);
    end(d, DELIVER_LET_GO);
}

void deliver_progress(struct deliver *d)
{
    d->progress = true;
    patience_progress(&d->patience);
    atomic_store(&d->options->control->progress_ms, clock_ms());
}

/* ---- the lease ---- */

/*
 * Requests in the air or something to be sent now: not waiting for a limit. The
 * listing of jobs is nothing to wait for.
 */
static int64_t waiting_for_limit_ms(const struct deliver *d)
{
    int64_t now = clock_ms(), longest = 0;

    if (client_in_flight(d->options->client) > 0)
        return 0;
    for (size_t i = 0; i < ENDPOINT_COUNT; i++)
        if (i != ENDPOINT_JOBS && d->gate_ms[i] - now > longest)
            longest = d->gate_ms[i] - now;
    return longest > WAITING_MS ? longest : 0;
}

static void cancelled(struct deliver *d, const char *by)
{
    d->result->reason = "cancelled_by";
    (void)snprintf(d->result->detail, sizeof d->result->detail,
                   "cancelled by %s; %lld rows had been accepted since the run was last taken", by,
                   (long long)d->accepted);
    end(d, DELIVER_CANCELLED);
}

static struct run_heartbeat make_heartbeat(struct deliver *d)
{
    struct run_heartbeat heartbeat = d->sums;

    heartbeat.lease_ms = d->lease.length_ms;
    heartbeat.waiting_ms = waiting_for_limit_ms(d);
    heartbeat.idle_ms = d->patience.used_ms;
    heartbeat.progress = d->progress;
    heartbeat.counts = plan_counts(d->options->plan);
    return heartbeat;
}

/* As listings show it: running becomes waiting, or the other way round. */
static void log_change(const struct deliver *d, const struct run_heartbeat *heartbeat)
{
    bool waits = heartbeat->waiting_ms > 0;

    if (waits == d->told_waiting)
        return;
    log_info(waits ? "run_waiting" : "run_resumed", LOG_INT("run", d->task->run_id),
             LOG_STR("export", d->task->export_name), LOG_INT("waiting_ms", heartbeat->waiting_ms),
             LOG_INT("read", heartbeat->counts.read),
             LOG_INT("selected", heartbeat->counts.selected), LOG_INT("accepted", d->accepted),
             LOG_STR("trace", d->task->traceparent));
}

static void renew_lease(struct deliver *d)
{
    struct error err = ERROR_INIT;
    struct run_heartbeat heartbeat = make_heartbeat(d);
    char *cancelled_by = NULL;
    int64_t sent_ms = clock_ms();

    if (!runs_heartbeat(d->db, d->task, &heartbeat, &cancelled_by, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    lease_renewed(&d->lease, sent_ms);
    log_change(d, &heartbeat);
    d->told_waiting = heartbeat.waiting_ms > 0;
    d->progress = false;
    d->sums = (struct run_heartbeat){ 0 };
    if (cancelled_by && !d->over)
        cancelled(d, cancelled_by);
    free(cancelled_by);
}

/* Something that listings show has changed. */
static bool has_news(const struct deliver *d, int64_t now)
{
    if (!d->plan_done && now - d->lease.renewed_ms >= TELL_COUNTS_MS)
        return true;
    return d->told_waiting != (waiting_for_limit_ms(d) > 0);
}

static void mind_lease(struct deliver *d)
{
    struct error err = ERROR_INIT;
    int64_t now = clock_ms();

    if (lease_is_over(&d->lease, now)) {
        /* Before anything else: nothing of ours may arrive any more. */
        client_abort_all(d->options->client);
        error_set(&err, ERROR_LOST, "the lease of the run is over: this worker stood still");
        deliver_let_go(d, &err);
    } else if (lease_is_due(&d->lease, now) || has_news(d, now)) {
        renew_lease(d);
    }
}

static void mind_patience(struct deliver *d)
{
    if (patience_tick(&d->patience, clock_ms(), waiting_for_limit_ms(d) > 0))
        return;
    deliver_fail(d, "retry_budget_used_up", "no progress for %lld s; last: %s",
                 (long long)d->options->settings->retry_budget_seconds,
                 d->last_trouble[0] ? d->last_trouble : "an import job did not end");
}

/* ---- what the plan did ---- */

static void mind_plan(struct deliver *d)
{
    struct plan *plan = d->options->plan;
    bool ended = plan_has_ended(plan); /* first: what it planned before that is seen below */
    int64_t batches = plan_batches(plan);
    struct error why = ERROR_INIT;

    if (batches != d->plan_batches_seen) {
        d->plan_batches_seen = batches;
        d->more_planned = true;
        deliver_progress(d);
    }
    if (!ended)
        return;
    switch (plan_result(plan, &why)) {
    case PLAN_DONE:
        d->plan_done = true;
        return;
    case PLAN_OVER_LIMIT:
        deliver_fail(d, "over_profile_limit", "%s", why.text);
        return;
    case PLAN_SOURCE_UNREADABLE:
        deliver_fail(d, "source_unreadable", "%s", why.text);
        return;
    case PLAN_INTERRUPTED:
        break;
    }
    deliver_let_go(d, &why);
}

/* ---- the loop ---- */

static void mind_control(struct deliver *d)
{
    struct run_control *control = d->options->control;
    int64_t drain_ms = atomic_load(&control->drain_ms);

    if (d->over)
        return;
    if (atomic_load(&control->cut_off) ||
        (drain_ms > 0 && (parcels_posting(d) == 0 || clock_ms() >= drain_ms)))
        end(d, DELIVER_DRAINED);
}

/* Nothing on its way, nothing to come. */
static void mind_end(struct deliver *d)
{
    if (!d->over && d->n_parcels == 0 && !d->more_planned && !d->list.in_flight && d->plan_done)
        end(d, DELIVER_DONE);
}

static void wait_for_something(struct deliver *d)
{
    struct error err = ERROR_INIT;
    uint64_t rung;

    if (!client_wait(d->options->client, dispatch_wait_ms(d), d->options->wakeup_fd, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    /* The bell is a hint: what it stands for is looked up anyway. */
    if (read(d->options->wakeup_fd, &rung, sizeof rung) < 0)
        return;
}

static void turn(struct deliver *d)
{
    answers_take(d);
    parcels_drop_finished(d);
    mind_lease(d);
    mind_plan(d);
    mind_patience(d);
    parcels_fetch(d);
    dispatch_due(d);
    mind_control(d);
    mind_end(d);
    if (!d->over)
        wait_for_something(d);
}

static void release(struct deliver *d)
{
    client_abort_all(d->options->client);
    parcels_release(d);
    strbuf_release(&d->tail);
}

void deliver(const struct deliver_options *options, struct deliver_result *result)
{
    struct deliver d = {
        .options = options,
        .task = options->task,
        .db = options->db,
        .result = result,
        .more_planned = true,
        .listing = { .endpoint = ENDPOINT_JOBS },
        .list = { .endpoint = ENDPOINT_LIST },
        .list_state = options->task->list_known ? LIST_UNASKED : LIST_WANTED,
        .tail = STRBUF_INIT(1024),
    };
    int64_t budget_ms = options->settings->retry_budget_seconds * 1000;

    import_job_add_tail(&d.tail, d.task->list_id);
    lease_init(&d.lease, options->settings->lease_seconds * 1000, options->taken_ms);
    patience_init(&d.patience, budget_ms, d.task->idle_ms, clock_ms());
    parcels_adopt_jobs(&d);
    while (!d.over)
        turn(&d);
    if (result->outcome != DELIVER_LET_GO)
        renew_lease(&d); /* the last counts */
    if (result->outcome == DELIVER_DONE) {
        const struct run_counts counts = plan_counts(options->plan);
        run_metrics_counts(&options->control->run_metrics, &counts);
    }
    release(&d);
}
