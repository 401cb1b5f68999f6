#include "worker/export/deliver.h"

#include <poll.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/wakeup.h"
#include "worker/export/delivery.h"
#include "worker/export/delivery_wait.h"
#include "worker/export/guard_watch.h"
#include "worker/export/lease.h"
#include "worker/export/perform.h"
#include "worker/export/plan.h"
#include "worker/export/retry_budget.h"
#include "worker/export/wait_report.h"
#include "worker/store/account_plan.h"
#include "worker/store/late_jobs.h"
#include "worker/store/rate_limit.h"

enum {
    REPORT_COUNTS_MS = 1000, /* how often counts are reported while the plan reads */
    TURN_MAX_MS = 1000,      /* a cancelled plan, a drain are seen at the latest then */
    TURN_MIN_MS = 5,         /* no spinning, whatever is due */
    PLAN_AGAIN_MS = 10000,   /* chosen: a shorter wait is not worth planning once more */
    STOP_MS = 5000,          /* for responses in flight, where this run alone is stopped */
};

struct deliver {
    const struct deliver_options *options;
    const struct run_task *task;
    struct deliver_result *result;
    bool over;
    struct plan *plan; /* NULL: not begun */
    struct delivery delivery;
    struct performer performer;
    struct lease lease;
    struct retry_budget budget;
    int64_t batches_seen; /* of the plan */
    struct guard_watch guards;
    bool plan_noted;                 /* what Klaviyo's plan allows */
    struct delivery_counts reported; /* by the last heartbeat */
    struct delivery_counts counted;  /* in the metrics */
    bool progress;                   /* since the last heartbeat */
    struct wait_report waits;        /* by the last heartbeat */
    int64_t stop_ms;                 /* 0: continue; else until when responses are waited for */
};

/* ---- how it ends ---- */

static void end_as(struct deliver *d, enum deliver_outcome outcome)
{
    d->result->outcome = outcome;
    d->over = true;
}

static void fail_run(struct deliver *d, enum run_reason reason, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Ends the delivery. Later calls are ignored. */
static void fail_run(struct deliver *d, enum run_reason reason, const char *fmt, ...)
{
    va_list args;

    if (d->over)
        return;
    d->result->reason = reason;
    va_start(args, fmt);
    (void)vsnprintf(d->result->detail, sizeof d->result->detail, fmt, args);
    va_end(args);
    end_as(d, DELIVER_FAILED);
}

static void relinquish(struct deliver *d, const struct error *err)
{
    if (d->over)
        return;
    (void)snprintf(d->result->detail, sizeof d->result->detail, "%s", err->text);
    d->result->relinquish_kind = err->kind;
    if (err->kind == ERROR_LOST)
        (void)atomic_fetch_add(&d->options->control->leases_lost, 1);
    end_as(d, DELIVER_RELINQUISHED);
}

static void cancelled(struct deliver *d, const char *by)
{
    d->result->reason = REASON_CANCELLED_BY;
    (void)snprintf(d->result->detail, sizeof d->result->detail,
                   "cancelled by %s; %lld rows had been accepted since the run was last taken", by,
                   (long long)d->delivery.counts.accepted);
    end_as(d, DELIVER_CANCELLED);
}

/* ---- progress and counts ---- */

static void note_progress(struct deliver *d)
{
    d->progress = true;
    retry_budget_progress(&d->budget);
    atomic_store(&d->options->control->progress_ms, clock_ms());
}

static void publish_counts(struct deliver *d)
{
    struct delivery_counts now = delivery_counts(&d->delivery);

    (void)atomic_fetch_add(&d->options->control->throttled, now.throttled - d->counted.throttled);
    (void)atomic_fetch_add(&d->options->control->retries, now.retries - d->counted.retries);
    if (now.progress != d->counted.progress)
        note_progress(d);
    d->counted = now;
}

/* ---- facts and effects ---- */

static void end_by_effect(struct deliver *d, const struct effect *effect)
{
    if (effect->kind == EFFECT_DONE) {
        d->result->reason = effect->reason;
        (void)snprintf(d->result->detail, sizeof d->result->detail, "%s",
                       effect->detail ? effect->detail : "");
        end_as(d, DELIVER_DONE);
        return;
    }
    d->result->key_refused = effect->key_refused;
    fail_run(d, effect->reason, "%s", effect->detail);
}

static void do_effect(struct deliver *d, const struct effect *effect)
{
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    if (!perform(&d->performer, effect, &result, &err) ||
        !delivery_performed(&d->delivery, effect, &result, clock_ms(), &err))
        relinquish(d, &err);
}

static void do_effects(struct deliver *d)
{
    struct effect effect;

    while (!d->over && delivery_next(&d->delivery, clock_ms(), &effect)) {
        if (effect.kind == EFFECT_DONE || effect.kind == EFFECT_FAIL)
            end_by_effect(d, &effect);
        else
            do_effect(d, &effect);
        publish_counts(d);
    }
}

static void log_response(const struct deliver *d, const struct pending_request *pending,
                         const struct response *response)
{
    log_debug("answer", LOG_INT("run", d->task->run_id),
              LOG_STR("endpoint", endpoint_name(pending->endpoint)),
              LOG_STR("transport", transport_name(response->transport)),
              LOG_INT("status", response->status), LOG_INT("duration_ms", response->duration_ms));
}

/* Takes what the verdict owns, where it is of use. */
static bool hand_reply(struct deliver *d, const struct response *response, struct verdict *verdict,
                       struct error *err)
{
    struct pending_request *pending = response->tag;

    if (!rate_limit_release(d->options->db, pending->permit_id, err) ||
        !verdict_judge(response, delivery_request_rows(pending), clock_utc_us(), verdict, err))
        return false;
    struct delivery_reply reply = { pending, response, verdict, clock_ms() };
    return delivery_response(&d->delivery, &reply, err);
}

static void hand_over(struct deliver *d, const struct response *response)
{
    struct verdict verdict = VERDICT_INIT;
    struct error err = ERROR_INIT;

    run_metrics_response(&d->options->control->run_metrics, response);
    FAILPOINT("answer.after");
    log_response(d, response->tag, response);
    if (!hand_reply(d, response, &verdict, &err))
        relinquish(d, &err);
    verdict_release(&verdict);
    publish_counts(d);
}

static void take_responses(struct deliver *d)
{
    struct response response = RESPONSE_INIT;

    while (!d->over && client_next(d->options->client, &response)) {
        hand_over(d, &response);
        response_release(&response);
        do_effects(d);
    }
}

/* ---- the lease ---- */

static struct run_counts counts_of_plan(const struct deliver *d)
{
    return d->plan ? plan_counts(d->plan) : (struct run_counts){ 0 };
}

/* A plan without connections waits for the database, and the run with it. */
static struct delivery_wait current_wait(const struct deliver *d, int64_t now)
{
    int64_t since_ms = d->plan ? plan_waiting_since_ms(d->plan) : 0;

    if (since_ms == 0)
        return delivery_wait(&d->delivery, now);
    return (struct delivery_wait){ .kind = WAIT_DATABASE_UNAVAILABLE,
                                   .since_ms = since_ms,
                                   .why = "the database, or a pooler in front of it, gives no "
                                          "connections to read the members with" };
}

/* The time does not count as time without progress. */
static bool is_waiting(const struct deliver *d, int64_t now)
{
    return (d->plan && plan_waiting_since_ms(d->plan) > 0) ||
           delivery_waiting_ms(&d->delivery, now) > 0;
}

static struct run_heartbeat make_heartbeat(struct deliver *d, const struct delivery_counts *counts,
                                           const struct delivery_wait *wait)
{
    int64_t left_ms = wait->until_ms - clock_ms();

    return (struct run_heartbeat){
        .lease_ms = d->lease.length_ms,
        .waiting_ms = wait->until_ms > 0 && left_ms > 0 ? left_ms : 0,
        .wait_reason = wait_reason(wait->kind),
        .idle_ms = d->budget.used_ms,
        .progress = d->progress,
        .counts = counts_of_plan(d),
        .requests = counts->requests - d->reported.requests,
        .throttled = counts->throttled - d->reported.throttled,
        .retries = counts->retries - d->reported.retries,
    };
}

/* As listings show it: running becomes waiting, once a minute, and the other way round. */
static void log_wait(struct deliver *d, const struct run_heartbeat *heartbeat)
{
    d->waits.logged_ms = clock_ms();
    log_info(
        heartbeat->wait_reason != REASON_NONE ? "run_waiting" : "run_resumed",
        LOG_INT("run", d->task->run_id), LOG_STR("export", d->task->export_name),
        LOG_STR("reason", run_reason_name(heartbeat->wait_reason)),
        LOG_STR("detail", heartbeat->wait_detail), LOG_INT("waiting_ms", heartbeat->waiting_ms),
        LOG_INT("read", heartbeat->counts.read), LOG_INT("selected", heartbeat->counts.selected),
        LOG_INT("accepted", d->delivery.counts.accepted), LOG_STR("trace", d->task->traceparent));
}

static void renewed(struct deliver *d, const struct run_heartbeat *heartbeat,
                    const struct delivery_wait *wait, int64_t sent_ms)
{
    lease_renewed(&d->lease, sent_ms);
    delivery_allow_imports(&d->delivery, lease_imports_until_ms(&d->lease));
    if (heartbeat->wait_logged)
        log_wait(d, heartbeat);
    d->waits.kind = wait->kind;
    d->progress = false;
}

static void renew_lease(struct deliver *d)
{
    struct error err = ERROR_INIT;
    int64_t sent_ms = clock_ms();
    struct delivery_wait wait = current_wait(d, sent_ms);
    struct delivery_counts counts = delivery_counts(&d->delivery);
    struct run_heartbeat heartbeat = make_heartbeat(d, &counts, &wait);
    char detail[WAIT_REPORT_DETAIL_BYTES];
    char *cancelled_by = NULL;

    wait_report_note(&d->waits, &wait, sent_ms, clock_utc_us());
    if (wait.kind != WAIT_NONE) {
        wait_report_text(&d->waits, &wait, detail);
        heartbeat.wait_detail = detail;
    }
    heartbeat.wait_logged = wait_report_is_due(&d->waits, wait.kind, sent_ms);
    if (!runs_heartbeat(d->options->db, d->task, &heartbeat, &cancelled_by, &err)) {
        relinquish(d, &err);
        return;
    }
    renewed(d, &heartbeat, &wait, sent_ms);
    d->reported = counts;
    if (cancelled_by && !d->over)
        cancelled(d, cancelled_by);
    free(cancelled_by);
}

/* Something that listings show has changed, or is to be logged again. */
static bool has_news(const struct deliver *d, int64_t now)
{
    if (!d->delivery.plan_done && now - d->lease.renewed_ms >= REPORT_COUNTS_MS)
        return true;
    return wait_report_has_news(&d->waits, current_wait(d, now).kind, now);
}

static void check_lease(struct deliver *d)
{
    struct error err = ERROR_INIT;
    int64_t now = clock_ms();

    if (d->over)
        return;
    if (lease_is_over(&d->lease, now)) {
        /* Before anything else: nothing of ours may arrive any more. */
        client_abort_all(d->options->client);
        error_set(&err, ERROR_LOST, "the lease of the run is over: this worker stood still");
        relinquish(d, &err);
    } else if (lease_is_due(&d->lease, now) || has_news(d, now)) {
        renew_lease(d);
    }
}

/* How long the members may take is for the database to say: with nothing to deliver yet. */
static bool is_only_reading(const struct deliver *d)
{
    return d->plan && !plan_has_ended(d->plan) && d->delivery.imports.n == 0;
}

static void check_retry_budget(struct deliver *d)
{
    int64_t now = clock_ms();
    bool paused = is_waiting(d, now) || is_only_reading(d);

    if (retry_budget_tick(&d->budget, now, paused))
        return;
    fail_run(d, REASON_RETRY_BUDGET_USED_UP, "no progress for %lld s; last: %s",
             (long long)d->options->settings->retry_budget_seconds,
             d->delivery.availability.trouble[0] ? d->delivery.availability.trouble
                                                 : "an import job did not end");
}

/* ---- what the plan did ---- */

static void end_by_plan(struct deliver *d)
{
    struct error why = ERROR_INIT;

    switch (plan_result(d->plan, &why)) {
    case PLAN_DONE:
        return;
    case PLAN_SOURCE_UNREADABLE:
        fail_run(d, REASON_SOURCE_UNREADABLE, "%s", why.text);
        return;
    case PLAN_INTERRUPTED:
        break;
    }
    relinquish(d, &why);
}

/* Not while an earlier run's job may overwrite what is sent: what it holds is planned, too. */
static void begin_plan(struct deliver *d)
{
    struct plan_options options = { d->options->settings->database_url, d->task,
                                    d->options->wakeup_fd, d->lease.length_ms };
    struct error err = ERROR_INIT;

    if (d->plan || d->task->resume.planned || d->over || delivery_late_jobs(&d->delivery) > 0)
        return;
    d->plan = plan_start(&options, &err);
    if (!d->plan)
        relinquish(d, &err);
}

/* ---- the guards ---- */

/* A run that fails has the plan's counts, as one that succeeds. */
static void check_guards(struct deliver *d, bool plan_ended)
{
    struct guards_verdict verdict;

    if (!d->over && !guard_watch_look(&d->guards, d->task, d->plan, &d->delivery, &verdict) &&
        plan_ended)
        fail_run(d, verdict.reason, "%s", verdict.detail);
}

/* What Klaviyo said of the account's plan is kept for the status page. */
static void note_account_plan(struct deliver *d)
{
    struct guards_facts facts = { .plan = GUARDS_UNASKED };
    struct error err = ERROR_INIT;

    delivery_tell(&d->delivery, &facts);
    if (d->plan_noted || facts.plan != GUARDS_KNOWN)
        return;
    d->plan_noted = true;
    if (!account_plan_note(d->options->db, d->task->account, facts.plan_used, facts.plan_maximum,
                           &err))
        relinquish(d, &err);
}

static struct removal_figures figures_of(const struct run_task *task,
                                         const struct run_counts *counts)
{
    return (struct removal_figures){ .wanted = task->removes_leavers && !task->is_trial,
                                     .account_known = task->account_known,
                                     .confirmed = task->confirms_removals,
                                     .left = counts->left,
                                     .there = counts->there,
                                     .members = run_counts_members(counts),
                                     .invalid = counts->invalid };
}

static void check_plan(struct deliver *d)
{
    struct plan *plan = d->plan;

    if (!plan)
        return;

    bool ended = plan_has_ended(plan); /* first: what it planned before that is seen below */
    int64_t batches = plan_batches(plan);

    if (ended)
        end_by_plan(d);
    check_guards(d, ended);
    note_account_plan(d);
    struct run_counts counts = plan_counts(plan);
    struct delivery_plan_news news = { .more = batches != d->batches_seen,
                                       .may_deliver = d->guards.passed,
                                       .done = ended,
                                       .figures = figures_of(d->task, &counts) };
    d->batches_seen = batches;
    delivery_plan(&d->delivery, &news);
    publish_counts(d);
}

/* ---- parking ---- */

/*
 * A parked run is not planned again once the guards have let it pass. A run whose guards wait
 * for Klaviyo is, by the next owner: they judge the figures of one plan.
 */
static bool must_plan_again(const struct deliver *d)
{
    return d->plan && !d->guards.passed;
}

static bool may_plan_wait(const struct deliver *d)
{
    return !d->plan || d->delivery.plan_done;
}

static int64_t park_ms(const struct deliver *d, int64_t now, unsigned *attempts)
{
    int64_t ms = may_plan_wait(d) ? delivery_park_ms(&d->delivery, now, attempts) : 0;

    return must_plan_again(d) && ms < PLAN_AGAIN_MS ? 0 : ms;
}

/* Slots hold work, not waits: all that is known of the run is in the database. */
static void check_wait(struct deliver *d)
{
    struct run_parking parking = { 0 };
    int64_t now = clock_ms();

    if (d->over)
        return;
    parking.park_ms = park_ms(d, now, &parking.attempts);
    parking.plan_again = must_plan_again(d);
    if (parking.park_ms == 0)
        return;
    if (delivery_waiting_ms(&d->delivery, now) == 0)
        parking.idle_ms = parking.park_ms; /* no limit is waited for: the budget is used */
    renew_lease(d);
    if (d->over)
        return;
    (void)snprintf(parking.trouble, sizeof parking.trouble, "%s", d->delivery.availability.trouble);
    d->result->parking = parking;
    end_as(d, DELIVER_PARKED);
}

/* ---- the loop ---- */

static bool is_stopped(const struct deliver *d)
{
    if (!d->options->stop_fd)
        return false;
    struct pollfd fd = { .fd = *d->options->stop_fd, .events = POLLIN };
    return poll(&fd, 1, 0) > 0;
}

/* 0: continue. Where the process ends, that is what stops this run, too. */
static int64_t drain_until_ms(const struct deliver *d)
{
    int64_t drain_ms = atomic_load(&d->options->control->drain_ms);

    return drain_ms > 0 ? drain_ms : d->stop_ms;
}

static void check_orders(struct deliver *d)
{
    if (d->stop_ms == 0 && is_stopped(d))
        d->stop_ms = clock_ms() + STOP_MS;
    int64_t drain_ms = drain_until_ms(d);

    if (drain_ms > 0)
        delivery_drain(&d->delivery);
    if (d->over)
        return;
    if (atomic_load(&d->options->control->cut_off) ||
        (drain_ms > 0 && (delivery_posting(&d->delivery) == 0 || clock_ms() >= drain_ms)))
        end_as(d, DELIVER_DRAINED);
}

static int64_t wait_ms(const struct deliver *d)
{
    int64_t now = clock_ms();
    int64_t due = delivery_due_ms(&d->delivery, now);
    int64_t drain_ms = drain_until_ms(d);

    if (d->lease.next_ms < due)
        due = d->lease.next_ms;
    if (drain_ms > 0 && drain_ms < due)
        due = drain_ms;
    if (due - now > TURN_MAX_MS)
        return TURN_MAX_MS;
    return due - now < TURN_MIN_MS ? TURN_MIN_MS : due - now;
}

static void wait_for_something(struct deliver *d)
{
    struct error err = ERROR_INIT;

    if (!client_wait(d->options->client, wait_ms(d), d->options->wakeup_fd, &err)) {
        relinquish(d, &err);
        return;
    }
    /* The wake-up carries no data; every turn checks all sources. */
    (void)wakeup_clear(d->options->wakeup_fd);
}

static void turn(struct deliver *d)
{
    take_responses(d);
    check_lease(d);
    check_plan(d);
    check_retry_budget(d);
    check_orders(d);
    do_effects(d);
    begin_plan(d);
    check_wait(d);
    if (!d->over)
        wait_for_something(d);
}

/* ---- begin and end ---- */

/* Jobs of an earlier owner are polled, each for the whole time of a job. */
static bool adopt_jobs(struct deliver *d, struct error *err)
{
    struct outbox_batches batches;

    if (!d->task->taken_over && d->task->epoch == 1)
        return true;
    return outbox_sent(d->options->db, d->task, &batches, err) &&
           delivery_adopt(&d->delivery, &batches, clock_ms(), err);
}

static bool adopt_late_jobs(struct deliver *d, struct error *err)
{
    int64_t unknown_ms = d->delivery.options.rules.job_budget_ms;
    struct late_jobs jobs;

    if (!late_jobs_load(d->options->db, d->task, unknown_ms, &jobs, err))
        return false;
    if (jobs.n > 0)
        log_info("late_jobs", LOG_INT("run", d->task->run_id),
                 LOG_STR("export", d->task->export_name), LOG_INT("jobs", (int64_t)jobs.n));
    return delivery_adopt_late_jobs(&d->delivery, &jobs, clock_ms(), err);
}

static enum wait_kind waited_for(const struct run_task *task)
{
    enum run_reason reason = task->resume.wait_reason;

    if (reason == REASON_NONE)
        return WAIT_NONE;
    if (reason == REASON_LIST_IN_USE)
        return WAIT_LIST_IN_USE;
    return reason == REASON_RATE_LIMITED ? WAIT_RATE_LIMITED : WAIT_KLAVIYO_UNAVAILABLE;
}

/* What a parked run reported before: nothing is said twice, and nothing is planned again. */
static void go_on_as_parked(struct deliver *d)
{
    const struct run_resume *parked = &d->task->resume;
    const struct run_counts counts = { .read = parked->members,
                                       .invalid = parked->invalid,
                                       .left = parked->left,
                                       .there = parked->there };
    const struct delivery_plan_news planned = { .may_deliver = true,
                                                .done = true,
                                                .figures = figures_of(d->task, &counts) };

    if (parked->planned)
        delivery_plan(&d->delivery, &planned);
    d->guards.passed = parked->planned;
    if (parked->wait_reason != REASON_NONE)
        wait_report_resume(&d->waits, waited_for(d->task), parked->wait_since_us,
                           parked->wait_logged_ms, clock_ms());
}

static bool begin(struct deliver *d, struct error *err)
{
    const struct settings *settings = d->options->settings;
    int64_t budget_ms = settings->retry_budget_seconds * 1000;
    struct delivery_options options = {
        .list_id = d->task->list_id,
        .export_name = d->task->export_name,
        .connection_name = d->task->connection_name,
        .list_known = d->task->list_known,
        .rules = { .poll_interval_min_ms = settings->poll_interval_min_ms,
                   .poll_interval_max_ms = settings->poll_interval_max_ms,
                   .job_budget_ms = budget_ms / 2 },
        .random = randombytes_random,
        .attempts = d->task->resume.attempts,
        .unavailable = waited_for(d->task) == WAIT_KLAVIYO_UNAVAILABLE,
        .list_was_busy = waited_for(d->task) == WAIT_LIST_IN_USE,
        .limited = waited_for(d->task) == WAIT_RATE_LIMITED,
        .trouble = d->task->resume.trouble,
        .now_ms = clock_ms(),
    };

    lease_init(&d->lease, settings->lease_seconds * 1000, d->options->taken_ms);
    retry_budget_init(&d->budget, budget_ms, d->task->resume.idle_ms, clock_ms());
    d->performer = (struct performer){
        .task = d->task,
        .db = d->options->db,
        .client = d->options->client,
        .control = d->options->control,
        .lease = &d->lease,
        .timeout_ms = settings->request_timeout_seconds * 1000,
    };
    if (!delivery_init(&d->delivery, &options, err))
        return false;
    delivery_allow_imports(&d->delivery, lease_imports_until_ms(&d->lease));
    go_on_as_parked(d);
    return adopt_jobs(d, err) && adopt_late_jobs(d, err);
}

static void finish(struct deliver *d)
{
    if (d->result->outcome != DELIVER_RELINQUISHED && d->result->outcome != DELIVER_PARKED)
        renew_lease(d); /* the last counts */
    client_abort_all(d->options->client);
    delivery_release(&d->delivery);
    plan_free(d->plan); /* it writes for the run, too: not after its end */
}

void deliver(const struct deliver_options *options, struct deliver_result *result)
{
    struct deliver d = { .options = options, .task = options->task, .result = result };
    struct error err = ERROR_INIT;

    if (!begin(&d, &err))
        relinquish(&d, &err);
    while (!d.over)
        turn(&d);
    finish(&d);
}
