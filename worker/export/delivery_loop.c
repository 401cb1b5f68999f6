#include "worker/export/delivery_loop.h"

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
    PLAN_AGAIN_MS = 10000,   /* chosen: a shorter wait is not worth another plan */
    STOP_MS = 5000,          /* for responses in flight, where this run alone is stopped */
};

struct delivery_loop {
    const struct delivery_loop_options *options;
    const struct run_task *task;
    struct delivery_loop_result *result;
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

static void end_as(struct delivery_loop *loop, enum delivery_loop_outcome outcome)
{
    loop->result->outcome = outcome;
    loop->over = true;
}

static void fail_run(struct delivery_loop *loop, enum run_reason reason, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Ends the delivery. Later calls are ignored. */
static void fail_run(struct delivery_loop *loop, enum run_reason reason, const char *fmt, ...)
{
    va_list args;

    if (loop->over)
        return;
    loop->result->reason = reason;
    va_start(args, fmt);
    (void)vsnprintf(loop->result->detail, sizeof loop->result->detail, fmt, args);
    va_end(args);
    end_as(loop, DELIVERY_LOOP_FAILED);
}

static void relinquish(struct delivery_loop *loop, const struct error *err)
{
    if (loop->over)
        return;
    (void)snprintf(loop->result->detail, sizeof loop->result->detail, "%s", err->text);
    loop->result->relinquish_kind = err->kind;
    if (err->kind == ERROR_LOST)
        (void)atomic_fetch_add(&loop->options->run_metrics->leases_lost, 1);
    end_as(loop, DELIVERY_LOOP_RELINQUISHED);
}

static void cancelled(struct delivery_loop *loop, const char *by)
{
    loop->result->reason = REASON_CANCELLED_BY;
    (void)snprintf(loop->result->detail, sizeof loop->result->detail,
                   "cancelled by %s; %lld rows had been accepted since the run was last taken", by,
                   (long long)loop->delivery.counts.accepted);
    end_as(loop, DELIVERY_LOOP_CANCELLED);
}

/* ---- progress and counts ---- */

static void note_progress(struct delivery_loop *loop)
{
    loop->progress = true;
    retry_budget_progress(&loop->budget);
    atomic_store(&loop->options->control->progress_ms, clock_ms());
}

static void publish_counts(struct delivery_loop *loop)
{
    struct run_metrics *metrics = loop->options->run_metrics;
    struct delivery_counts now = delivery_counts(&loop->delivery);

    (void)atomic_fetch_add(&metrics->throttled, now.throttled - loop->counted.throttled);
    (void)atomic_fetch_add(&metrics->retries, now.retries - loop->counted.retries);
    if (now.progress != loop->counted.progress)
        note_progress(loop);
    loop->counted = now;
}

/* ---- facts and effects ---- */

static void end_by_effect(struct delivery_loop *loop, const struct effect *effect)
{
    if (effect->kind == EFFECT_DONE) {
        loop->result->reason = effect->reason;
        (void)snprintf(loop->result->detail, sizeof loop->result->detail, "%s",
                       effect->detail ? effect->detail : "");
        end_as(loop, DELIVERY_LOOP_DONE);
        return;
    }
    loop->result->key_refused = effect->key_refused;
    fail_run(loop, effect->reason, "%s", effect->detail);
}

static void do_effect(struct delivery_loop *loop, const struct effect *effect)
{
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    if (!perform(&loop->performer, effect, &result, &err) ||
        !delivery_performed(&loop->delivery, effect, &result, clock_ms(), &err))
        relinquish(loop, &err);
}

static void do_effects(struct delivery_loop *loop)
{
    struct effect effect;

    while (!loop->over && delivery_next(&loop->delivery, clock_ms(), &effect)) {
        if (effect.kind == EFFECT_DONE || effect.kind == EFFECT_FAIL)
            end_by_effect(loop, &effect);
        else
            do_effect(loop, &effect);
        publish_counts(loop);
    }
}

static void log_response(const struct delivery_loop *loop, const struct pending_request *pending,
                         const struct response *response)
{
    log_debug("answer", LOG_INT("run", loop->task->run_id),
              LOG_STR("endpoint", endpoint_name(pending->endpoint)),
              LOG_STR("transport", transport_name(response->transport)),
              LOG_INT("status", response->status), LOG_INT("duration_ms", response->duration_ms));
}

/* Takes what the verdict owns, where it is of use. */
static bool hand_reply(struct delivery_loop *loop, const struct response *response,
                       struct verdict *verdict, struct error *err)
{
    struct pending_request *pending = response->tag;

    if (!rate_limit_release(loop->options->db, pending->permit_id, err) ||
        !verdict_judge(response, delivery_request_rows(pending), clock_utc_us(), verdict, err))
        return false;
    struct delivery_reply reply = { pending, response, verdict, clock_ms() };
    return delivery_response(&loop->delivery, &reply, err);
}

static void hand_over(struct delivery_loop *loop, const struct response *response)
{
    struct verdict verdict = VERDICT_INIT;
    struct error err = ERROR_INIT;

    run_metrics_response(loop->options->run_metrics, response);
    FAILPOINT("answer.after");
    log_response(loop, response->tag, response);
    if (!hand_reply(loop, response, &verdict, &err))
        relinquish(loop, &err);
    verdict_release(&verdict);
    publish_counts(loop);
}

static void take_responses(struct delivery_loop *loop)
{
    struct response response = RESPONSE_INIT;

    while (!loop->over && client_next(loop->options->client, &response)) {
        hand_over(loop, &response);
        response_release(&response);
        do_effects(loop);
    }
}

/* ---- the lease ---- */

static struct run_counts counts_of_plan(const struct delivery_loop *loop)
{
    return loop->plan ? plan_counts(loop->plan) : (struct run_counts){ 0 };
}

/* A plan without connections waits for the database, and the run with it. */
static struct delivery_wait current_wait(const struct delivery_loop *loop, int64_t now)
{
    int64_t since_ms = loop->plan ? plan_waiting_since_ms(loop->plan) : 0;

    if (since_ms == 0)
        return delivery_wait(&loop->delivery, now);
    return (struct delivery_wait){ .kind = WAIT_DATABASE_UNAVAILABLE,
                                   .since_ms = since_ms,
                                   .why = "the database, or a pooler in front of it, gives no "
                                          "connections to read the members with" };
}

/* The time does not count as time without progress. */
static bool is_waiting(const struct delivery_loop *loop, int64_t now)
{
    return (loop->plan && plan_waiting_since_ms(loop->plan) > 0) ||
           delivery_waiting_ms(&loop->delivery, now) > 0;
}

static struct run_heartbeat make_heartbeat(struct delivery_loop *loop,
                                           const struct delivery_counts *counts,
                                           const struct delivery_wait *wait)
{
    int64_t left_ms = wait->until_ms - clock_ms();

    return (struct run_heartbeat){
        .lease_ms = loop->lease.length_ms,
        .waiting_ms = wait->until_ms > 0 && left_ms > 0 ? left_ms : 0,
        .wait_reason = wait_reason(wait->kind),
        .idle_ms = loop->budget.used_ms,
        .progress = loop->progress,
        .counts = counts_of_plan(loop),
        .requests = counts->requests - loop->reported.requests,
        .throttled = counts->throttled - loop->reported.throttled,
        .retries = counts->retries - loop->reported.retries,
    };
}

/* As listings show it: running becomes waiting, once a minute, and the other way round. */
static void log_wait(struct delivery_loop *loop, const struct run_heartbeat *heartbeat)
{
    loop->waits.logged_ms = clock_ms();
    log_info(heartbeat->wait_reason != REASON_NONE ? "run_waiting" : "run_resumed",
             LOG_INT("run", loop->task->run_id), LOG_STR("export", loop->task->export_name),
             LOG_STR("reason", run_reason_name(heartbeat->wait_reason)),
             LOG_STR("detail", heartbeat->wait_detail),
             LOG_INT("waiting_ms", heartbeat->waiting_ms), LOG_INT("read", heartbeat->counts.read),
             LOG_INT("selected", heartbeat->counts.selected),
             LOG_INT("accepted", loop->delivery.counts.accepted),
             LOG_STR("trace", loop->task->traceparent));
}

static void renewed(struct delivery_loop *loop, const struct run_heartbeat *heartbeat,
                    const struct delivery_wait *wait, int64_t sent_ms)
{
    lease_renewed(&loop->lease, sent_ms);
    delivery_allow_imports(&loop->delivery, lease_imports_until_ms(&loop->lease));
    if (heartbeat->wait_logged)
        log_wait(loop, heartbeat);
    loop->waits.kind = wait->kind;
    loop->progress = false;
}

static void renew_lease(struct delivery_loop *loop)
{
    struct error err = ERROR_INIT;
    int64_t sent_ms = clock_ms();
    struct delivery_wait wait = current_wait(loop, sent_ms);
    struct delivery_counts counts = delivery_counts(&loop->delivery);
    struct run_heartbeat heartbeat = make_heartbeat(loop, &counts, &wait);
    char detail[WAIT_REPORT_DETAIL_BYTES];
    char *cancelled_by = NULL;

    wait_report_note(&loop->waits, &wait, sent_ms, clock_utc_us());
    if (wait.kind != WAIT_NONE) {
        wait_report_text(&loop->waits, &wait, detail);
        heartbeat.wait_detail = detail;
    }
    heartbeat.wait_logged = wait_report_is_due(&loop->waits, wait.kind, sent_ms);
    if (!runs_heartbeat(loop->options->db, loop->task, &heartbeat, &cancelled_by, &err)) {
        relinquish(loop, &err);
        return;
    }
    renewed(loop, &heartbeat, &wait, sent_ms);
    loop->reported = counts;
    if (cancelled_by && !loop->over)
        cancelled(loop, cancelled_by);
    free(cancelled_by);
}

/* Something that listings show has changed, or is to be logged again. */
static bool has_news(const struct delivery_loop *loop, int64_t now)
{
    if (!loop->delivery.plan_done && now - loop->lease.renewed_ms >= REPORT_COUNTS_MS)
        return true;
    return wait_report_has_news(&loop->waits, current_wait(loop, now).kind, now);
}

static void check_lease(struct delivery_loop *loop)
{
    struct error err = ERROR_INIT;
    int64_t now = clock_ms();

    if (loop->over)
        return;
    if (lease_is_over(&loop->lease, now)) {
        /* Before anything else: nothing of ours may arrive any more. */
        client_abort_all(loop->options->client);
        error_set(&err, ERROR_LOST, "the lease of the run is over: this worker stood still");
        relinquish(loop, &err);
    } else if (lease_is_due(&loop->lease, now) || has_news(loop, now)) {
        renew_lease(loop);
    }
}

/* With nothing to deliver yet, the database decides how long reading the members takes. */
static bool is_only_reading(const struct delivery_loop *loop)
{
    return loop->plan && !plan_has_ended(loop->plan) && loop->delivery.imports.n == 0;
}

static void check_retry_budget(struct delivery_loop *loop)
{
    int64_t now = clock_ms();
    bool paused = is_waiting(loop, now) || is_only_reading(loop);

    if (retry_budget_tick(&loop->budget, now, paused))
        return;
    fail_run(loop, REASON_RETRY_BUDGET_USED_UP, "no progress for %lld s; last: %s",
             (long long)loop->options->settings->retry_budget_seconds,
             loop->delivery.availability.trouble[0] ? loop->delivery.availability.trouble
                                                    : "an import job did not end");
}

/* ---- what the plan did ---- */

static void end_by_plan(struct delivery_loop *loop)
{
    struct error why = ERROR_INIT;

    switch (plan_result(loop->plan, &why)) {
    case PLAN_DONE:
        return;
    case PLAN_SOURCE_UNREADABLE:
        fail_run(loop, REASON_SOURCE_UNREADABLE, "%s", why.text);
        return;
    case PLAN_INTERRUPTED:
        break;
    }
    relinquish(loop, &why);
}

/* Not while an earlier run's job may overwrite what is sent: its rows are planned, too. */
static void begin_plan(struct delivery_loop *loop)
{
    struct plan_options options = { loop->options->settings->database_url, loop->task,
                                    loop->options->wakeup_fd, loop->lease.length_ms };
    struct error err = ERROR_INIT;

    if (loop->plan || loop->task->resume.planned || loop->over ||
        delivery_late_jobs(&loop->delivery) > 0)
        return;
    loop->plan = plan_start(&options, &err);
    if (!loop->plan)
        relinquish(loop, &err);
}

/* ---- the guards ---- */

/* A run that fails has the plan's counts, as one that succeeds. */
static void check_guards(struct delivery_loop *loop, bool plan_ended)
{
    struct guards_verdict verdict;

    if (!loop->over &&
        !guard_watch_look(&loop->guards, loop->task, loop->plan, &loop->delivery, &verdict) &&
        plan_ended)
        fail_run(loop, verdict.reason, "%s", verdict.detail);
}

/* What Klaviyo said of the account's plan is kept for the status page. */
static void note_account_plan(struct delivery_loop *loop)
{
    struct guards_facts facts = { .plan = GUARDS_UNASKED };
    struct error err = ERROR_INIT;

    delivery_tell(&loop->delivery, &facts);
    if (loop->plan_noted || facts.plan != GUARDS_KNOWN)
        return;
    loop->plan_noted = true;
    if (!account_plan_note(loop->options->db, loop->task->account, facts.plan_used,
                           facts.plan_maximum, &err))
        relinquish(loop, &err);
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
                                     .invalid = counts->invalid,
                                     .removed = task->removed };
}

static void check_plan(struct delivery_loop *loop)
{
    struct plan *plan = loop->plan;

    if (!plan)
        return;

    bool ended = plan_has_ended(plan); /* first: what it planned before that is seen below */
    int64_t batches = plan_batches(plan);

    if (ended)
        end_by_plan(loop);
    check_guards(loop, ended);
    note_account_plan(loop);
    struct run_counts counts = plan_counts(plan);
    struct delivery_plan_news news = { .more = batches != loop->batches_seen,
                                       .may_deliver = loop->guards.passed,
                                       .done = ended,
                                       .figures = figures_of(loop->task, &counts) };
    loop->batches_seen = batches;
    delivery_plan(&loop->delivery, &news);
    publish_counts(loop);
}

/* ---- parking ---- */

/*
 * A parked run is not planned again once the guards have let it pass. A run whose guards wait
 * for Klaviyo is, by the next owner: they judge the figures of one plan.
 */
static bool must_plan_again(const struct delivery_loop *loop)
{
    return loop->plan && !loop->guards.passed;
}

static bool may_plan_wait(const struct delivery_loop *loop)
{
    return !loop->plan || loop->delivery.plan_done;
}

static int64_t park_ms(const struct delivery_loop *loop, int64_t now, unsigned *attempts)
{
    int64_t ms = may_plan_wait(loop) ? delivery_park_ms(&loop->delivery, now, attempts) : 0;

    return must_plan_again(loop) && ms < PLAN_AGAIN_MS ? 0 : ms;
}

/* For who takes the run next, and says what it waits for. */
static const char *trouble_of(const struct delivery_loop *loop, int64_t now)
{
    struct delivery_wait wait = delivery_wait(&loop->delivery, now);

    return wait.kind == WAIT_RATE_LIMITED ? wait.why : loop->delivery.availability.trouble;
}

/* Slots hold work, not waits: all that is known of the run is in the database. */
static void check_wait(struct delivery_loop *loop)
{
    struct run_parking parking = { 0 };
    int64_t now = clock_ms();

    if (loop->over)
        return;
    parking.park_ms = park_ms(loop, now, &parking.attempts);
    parking.plan_again = must_plan_again(loop);
    if (parking.park_ms == 0)
        return;
    if (delivery_waiting_ms(&loop->delivery, now) == 0)
        parking.idle_ms = parking.park_ms; /* it waits for no limit: the budget is used */
    renew_lease(loop);
    if (loop->over)
        return;
    (void)snprintf(parking.trouble, sizeof parking.trouble, "%s", trouble_of(loop, now));
    loop->result->parking = parking;
    end_as(loop, DELIVERY_LOOP_PARKED);
}

/* ---- the loop ---- */

static bool is_stopped(const struct delivery_loop *loop)
{
    if (!loop->options->stop_fd)
        return false;
    struct pollfd fd = { .fd = *loop->options->stop_fd, .events = POLLIN };
    return poll(&fd, 1, 0) > 0;
}

/* 0: continue. If the process ends, its deadline stops this run, too. */
static int64_t drain_until_ms(const struct delivery_loop *loop)
{
    int64_t drain_ms = atomic_load(&loop->options->control->drain_ms);

    return drain_ms > 0 ? drain_ms : loop->stop_ms;
}

static void check_orders(struct delivery_loop *loop)
{
    if (loop->stop_ms == 0 && is_stopped(loop))
        loop->stop_ms = clock_ms() + STOP_MS;
    int64_t drain_ms = drain_until_ms(loop);

    if (drain_ms > 0)
        delivery_drain(&loop->delivery);
    if (loop->over)
        return;
    if (atomic_load(&loop->options->control->cut_off) ||
        (drain_ms > 0 && (delivery_posting(&loop->delivery) == 0 || clock_ms() >= drain_ms)))
        end_as(loop, DELIVERY_LOOP_DRAINED);
}

static int64_t wait_ms(const struct delivery_loop *loop)
{
    int64_t now = clock_ms();
    int64_t due = delivery_due_ms(&loop->delivery, now);
    int64_t drain_ms = drain_until_ms(loop);

    if (loop->lease.next_ms < due)
        due = loop->lease.next_ms;
    if (drain_ms > 0 && drain_ms < due)
        due = drain_ms;
    if (due - now > TURN_MAX_MS)
        return TURN_MAX_MS;
    return due - now < TURN_MIN_MS ? TURN_MIN_MS : due - now;
}

static void wait_for_something(struct delivery_loop *loop)
{
    struct error err = ERROR_INIT;

    if (!client_wait(loop->options->client, wait_ms(loop), loop->options->wakeup_fd, &err)) {
        relinquish(loop, &err);
        return;
    }
    /* The wake-up carries no data; every turn checks all sources. */
    (void)wakeup_clear(loop->options->wakeup_fd);
}

static void turn(struct delivery_loop *loop)
{
    take_responses(loop);
    check_lease(loop);
    check_plan(loop);
    check_retry_budget(loop);
    check_orders(loop);
    do_effects(loop);
    begin_plan(loop);
    check_wait(loop);
    if (!loop->over)
        wait_for_something(loop);
}

/* ---- begin and end ---- */

/* Jobs of an earlier owner are polled, each for the whole time of a job. */
static bool adopt_jobs(struct delivery_loop *loop, struct error *err)
{
    struct outbox_batches batches;

    if (!loop->task->taken_over && loop->task->epoch == 1)
        return true;
    return outbox_sent(loop->options->db, loop->task, &batches, err) &&
           delivery_adopt(&loop->delivery, &batches, clock_ms(), err);
}

static bool adopt_late_jobs(struct delivery_loop *loop, struct error *err)
{
    int64_t unknown_ms = loop->delivery.options.rules.job_budget_ms;
    struct late_jobs jobs;

    if (!late_jobs_load(loop->options->db, loop->task, unknown_ms, &jobs, err))
        return false;
    if (jobs.n > 0)
        log_info("late_jobs", LOG_INT("run", loop->task->run_id),
                 LOG_STR("export", loop->task->export_name), LOG_INT("jobs", (int64_t)jobs.n));
    return delivery_adopt_late_jobs(&loop->delivery, &jobs, clock_ms(), err);
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
static void go_on_as_parked(struct delivery_loop *loop)
{
    const struct run_resume *parked = &loop->task->resume;
    const struct run_counts counts = { .read = parked->members,
                                       .invalid = parked->invalid,
                                       .left = parked->left,
                                       .there = parked->there };
    const struct delivery_plan_news planned = { .may_deliver = true,
                                                .done = true,
                                                .figures = figures_of(loop->task, &counts) };

    if (parked->planned)
        delivery_plan(&loop->delivery, &planned);
    loop->guards.passed = parked->planned;
    if (parked->wait_reason != REASON_NONE)
        wait_report_resume(&loop->waits, waited_for(loop->task), parked->wait_since_us,
                           parked->wait_logged_ms, clock_ms());
}

static bool begin(struct delivery_loop *loop, struct error *err)
{
    const struct settings *settings = loop->options->settings;
    int64_t budget_ms = settings->retry_budget_seconds * 1000;
    struct delivery_options options = {
        .list_id = loop->task->list_id,
        .export_name = loop->task->export_name,
        .connection_name = loop->task->connection_name,
        .list_known = loop->task->list_known,
        .rules = { .poll_interval_min_ms = settings->poll_interval_min_ms,
                   .poll_interval_max_ms = settings->poll_interval_max_ms,
                   .job_budget_ms = budget_ms / 2 },
        .random = randombytes_random,
        .attempts = loop->task->resume.attempts,
        .unavailable = waited_for(loop->task) == WAIT_KLAVIYO_UNAVAILABLE,
        .list_was_busy = waited_for(loop->task) == WAIT_LIST_IN_USE,
        .limited = waited_for(loop->task) == WAIT_RATE_LIMITED,
        .trouble = loop->task->resume.trouble,
        .now_ms = clock_ms(),
    };

    lease_init(&loop->lease, settings->lease_seconds * 1000, loop->options->taken_ms);
    retry_budget_init(&loop->budget, budget_ms, loop->task->resume.idle_ms, clock_ms());
    loop->performer = (struct performer){
        .task = loop->task,
        .db = loop->options->db,
        .client = loop->options->client,
        .run_metrics = loop->options->run_metrics,
        .lease = &loop->lease,
        .timeout_ms = settings->request_timeout_seconds * 1000,
    };
    if (!delivery_init(&loop->delivery, &options, err))
        return false;
    delivery_allow_imports(&loop->delivery, lease_imports_until_ms(&loop->lease));
    go_on_as_parked(loop);
    return adopt_jobs(loop, err) && adopt_late_jobs(loop, err);
}

/*
 * Imports that were refused are no jobs: nobody is to wait for them, or to send their rows once
 * more. Where that cannot be written they count as possible jobs, as after a crash.
 */
static void forget_refused(struct delivery_loop *loop)
{
    const struct import_set *imports = &loop->delivery.imports;
    struct error ignored = ERROR_INIT;
    bool ok = true;

    for (size_t i = 0; ok && i < imports->n; i++)
        if (imports->import[i]->refused)
            ok = outbox_mark_unposted(loop->options->db, loop->task,
                                      imports->import[i]->batch.batch_id, &ignored);
}

static void finish(struct delivery_loop *loop)
{
    enum delivery_loop_outcome outcome = loop->result->outcome;

    if (outcome != DELIVERY_LOOP_RELINQUISHED)
        forget_refused(loop);
    if (outcome != DELIVERY_LOOP_RELINQUISHED && outcome != DELIVERY_LOOP_PARKED)
        renew_lease(loop); /* the last counts */
    client_abort_all(loop->options->client);
    delivery_release(&loop->delivery);
    plan_free(loop->plan); /* it writes for the run, too: not after its end */
}

void delivery_loop_run(const struct delivery_loop_options *options,
                       struct delivery_loop_result *result)
{
    struct delivery_loop loop = { .options = options, .task = options->task, .result = result };
    struct error err = ERROR_INIT;

    if (!begin(&loop, &err))
        relinquish(&loop, &err);
    while (!loop.over)
        turn(&loop);
    finish(&loop);
}
