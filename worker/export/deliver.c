#include "worker/export/deliver.h"

#include <assert.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/export/deliver_state.h"
#include "worker/klaviyo/list.h"
#include "worker/store/budget.h"

enum {
    TURN_MS = 1000,           /* the longest wait of the loop, with nothing due */
    KEY_RETRY_MS = 10 * 1000, /* between a refused key and the second try */
    THROTTLED_MS = 1000,      /* a 429 that does not say for how long: the burst window */
    WAITING_MS = 500,         /* a shorter wait for a limit is not worth telling */
    NEVER_MS = 24 * 3600 * 1000,
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

/* Requests in the air or something to be sent now: not waiting for a limit. */
static int64_t waiting_for_limit_ms(const struct deliver *d)
{
    int64_t now = clock_ms(), longest = 0;

    if (client_in_flight(d->options->client) > 0)
        return 0;
    for (size_t i = 0; i < ENDPOINT_COUNT; i++)
        if (d->gate_ms[i] - now > longest)
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

static struct run_beat make_beat(struct deliver *d)
{
    struct run_beat beat = d->sums;

    beat.lease_ms = d->lease.length_ms;
    beat.waiting_ms = waiting_for_limit_ms(d);
    beat.idle_ms = d->patience.used_ms;
    beat.progress = d->progress;
    beat.counts = plan_counts(d->options->plan);
    return beat;
}

static void renew_lease(struct deliver *d)
{
    struct error err = ERROR_INIT;
    struct run_beat beat = make_beat(d);
    char *cancelled_by = NULL;
    int64_t sent_ms = clock_ms();

    if (!runs_beat(d->db, d->task, &beat, &cancelled_by, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    lease_renewed(&d->lease, sent_ms);
    d->told_waiting = beat.waiting_ms > 0;
    d->progress = false;
    d->sums = (struct run_beat){ 0 };
    if (cancelled_by && !d->over)
        cancelled(d, cancelled_by);
    free(cancelled_by);
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
    } else if (lease_is_due(&d->lease, now) || d->told_waiting != (waiting_for_limit_ms(d) > 0)) {
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
    const char *detail;

    if (batches != d->plan_batches_seen) {
        d->plan_batches_seen = batches;
        d->more_planned = true;
        deliver_progress(d);
    }
    if (!ended)
        return;
    switch (plan_result(plan, &detail)) {
    case PLAN_DONE:
        return;
    case PLAN_OVER_LIMIT:
        deliver_fail(d, "over_profile_limit", "%s", detail);
        return;
    case PLAN_SOURCE_UNREADABLE:
        deliver_fail(d, "source_unreadable", "%s", detail);
        return;
    case PLAN_INTERRUPTED:
        break;
    }
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_RETRY, "%s", detail);
    deliver_let_go(d, &err);
}

/* ---- parcels ---- */

static bool add_parcel(struct deliver *d, struct outbox_batch *batch)
{
    if (d->n_parcels == d->cap_parcels) {
        size_t cap = d->cap_parcels ? d->cap_parcels * 2 : 16;
        struct parcel **parcels = realloc(d->parcels, cap * sizeof(struct parcel *));
        if (!parcels)
            return false;
        d->parcels = parcels;
        d->cap_parcels = cap;
    }
    struct parcel *parcel = parcel_new(batch);
    if (!parcel)
        return false;
    d->parcels[d->n_parcels++] = parcel;
    return true;
}

static void add_parcels(struct deliver *d, struct outbox_batch *batches, size_t n)
{
    struct error err = ERROR_INIT;
    bool ok = true;

    for (size_t i = 0; i < n; i++)
        ok = ok && add_parcel(d, &batches[i]);
    outbox_batches_free(batches, n);
    if (!ok) {
        error_no_memory(&err);
        deliver_let_go(d, &err);
    }
}

/* Jobs of an earlier owner are looked at, each for the whole time. */
static void adopt_jobs(struct deliver *d)
{
    struct outbox_batch *batches;
    struct error err = ERROR_INIT;
    size_t n;

    if (!d->task->taken_over && d->task->epoch == 1)
        return;
    if (!outbox_sent(d->db, d->task, &batches, &n, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    add_parcels(d, batches, n);
    for (size_t i = 0; i < d->n_parcels; i++) {
        d->parcels[i]->interval_ms = d->options->settings->poll_interval_min_ms;
        d->parcels[i]->give_up_ms =
            clock_ms() + d->options->settings->retry_budget_seconds * 1000 / 2;
    }
}

static size_t count_posts(const struct deliver *d, int64_t *ids)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n_parcels; i++)
        if (d->parcels[i]->step == PARCEL_POST) {
            if (n < DELIVER_IMPORTS_MAX)
                ids[n] = d->parcels[i]->batch.batch_id;
            n++;
        }
    return n;
}

/* As many planned batches become parcels as may be in the air. */
static void fetch_planned(struct deliver *d)
{
    int64_t held[DELIVER_IMPORTS_MAX];
    struct outbox_batch *batches;
    struct error err = ERROR_INIT;
    size_t n, posts = count_posts(d, held);

    if (d->over || !d->more_planned || posts >= DELIVER_IMPORTS_MAX ||
        !plan_may_deliver(d->options->plan))
        return;
    int64_t room = DELIVER_IMPORTS_MAX - (int64_t)posts;
    struct outbox_window window = { .held = held, .n_held = posts, .max = room };
    if (!outbox_planned(d->db, d->task, &window, &batches, &n, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    d->more_planned = (int64_t)n == room;
    add_parcels(d, batches, n);
}

static void drop_finished(struct deliver *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->n_parcels; i++) {
        if (d->parcels[i]->step == PARCEL_OVER)
            parcel_free(d->parcels[i]);
        else
            d->parcels[kept++] = d->parcels[i];
    }
    d->n_parcels = kept;
}

/* ---- sending ---- */

static void close_gate(struct deliver *d, enum endpoint endpoint, int64_t wait_ms)
{
    int64_t until = clock_ms() + wait_ms;

    if (until > d->gate_ms[endpoint])
        d->gate_ms[endpoint] = until;
}

void errand_again(struct deliver *d, struct errand *errand, int64_t wait_ms)
{
    errand->attempts++;
    errand->due_ms =
        clock_ms() + retry_wait_ms(RETRY_POLICY, errand->attempts, randombytes_random(), wait_ms);
    d->sums.retries++;
    (void)atomic_fetch_add(&d->options->control->retries, 1);
}

/* A place in the account's budget; without one the endpoint's gate is closed. */
static bool take_place(struct deliver *d, struct errand *errand)
{
    struct endpoint_limit published = endpoint_limit(errand->endpoint);
    struct budget_claim claim = {
        .account = d->task->account,
        .endpoint = endpoint_name(errand->endpoint),
        .burst = published.per_second,
        .steady = published.per_minute,
        .timeout_ms = d->options->settings->request_timeout_seconds * 1000,
    };
    struct budget_place place;
    struct error err = ERROR_INIT;

    if (!budget_take(d->db, &claim, &place, &err)) {
        deliver_let_go(d, &err);
        return false;
    }
    errand->place_id = place.place_id;
    if (place.place_id)
        return true;
    close_gate(d, errand->endpoint, place.wait_ms);
    (void)atomic_fetch_add(&d->options->control->limit_wait_ms, place.wait_ms);
    return false;
}

static bool may_start(const struct deliver *d, const struct errand *errand)
{
    int64_t now = clock_ms();

    return !d->over && !errand->in_flight && now >= errand->due_ms &&
           now >= d->gate_ms[errand->endpoint] && now >= d->key_gate_ms &&
           atomic_load(&d->options->control->drain_ms) == 0 &&
           (errand->endpoint != ENDPOINT_IMPORT || lease_allows_import(&d->lease, now));
}

/* The request's body and strings live in the parcel until the answer. */
static void start(struct deliver *d, struct errand *errand, struct request request)
{
    struct error err = ERROR_INIT;

    if (!take_place(d, errand))
        return;
    request.traceparent = d->task->traceparent;
    FAILPOINT("request.before");
    if (!client_start(d->options->client, &request, errand, &err)) {
        (void)snprintf(d->last_trouble, sizeof d->last_trouble, "%.200s", err.text);
        errand_again(d, errand, 0);
        return;
    }
    errand->in_flight = true;
    d->sums.requests++;
}

static size_t imports_in_flight(const struct deliver *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n_parcels; i++)
        n += d->parcels[i]->step == PARCEL_POST && d->parcels[i]->errand.in_flight;
    return n;
}

/* Looks that the listing of jobs answers all at once. */
static size_t common_looks(const struct deliver *d, bool *due)
{
    size_t n = 0;

    *due = false;
    for (size_t i = 0; i < d->n_parcels; i++) {
        const struct parcel *parcel = d->parcels[i];

        if (parcel->step != PARCEL_LOOK || parcel->look_alone || parcel->errand.in_flight)
            continue;
        n++;
        *due = *due || clock_ms() >= parcel->errand.due_ms;
    }
    return n;
}

static void start_parcel(struct deliver *d, struct parcel *parcel)
{
    if (!may_start(d, &parcel->errand) || parcel->waits_for_list)
        return;
    if (parcel->step == PARCEL_POST && imports_in_flight(d) >= DELIVER_IMPORTS_MAX)
        return;
    if (parcel->step != PARCEL_LOOK && !parcel_load(d, parcel))
        return;
    start(d, &parcel->errand, parcel_request(d, parcel));
}

static void start_due(struct deliver *d)
{
    bool looks_due;
    bool common = common_looks(d, &looks_due) > 1 || d->listing.in_flight;

    if (d->list_state == LIST_WANTED && plan_may_deliver(d->options->plan) &&
        may_start(d, &d->list))
        start(d, &d->list, list_request(d->task->list_id));
    if (common && looks_due && may_start(d, &d->listing))
        start(d, &d->listing, import_job_listing_request());
    for (size_t i = 0; i < d->n_parcels && !d->over; i++) {
        struct parcel *parcel = d->parcels[i];

        if (parcel->step != PARCEL_LOOK || parcel->look_alone || !common)
            start_parcel(d, parcel);
    }
}

/* ---- answers ---- */

/* A page of the newest jobs: whose job is not on it is looked at alone. */
static void listing_answer(struct deliver *d, const struct answer *answer)
{
    struct import_job_listing listing = IMPORT_JOB_LISTING_INIT;
    struct error err = ERROR_INIT;

    if (!import_job_listing_parse(answer, &listing, &err)) {
        errand_again(d, &d->listing, 0);
        return;
    }
    d->listing.attempts = 0;
    for (size_t i = 0; i < d->n_parcels && !d->over; i++) {
        struct parcel *parcel = d->parcels[i];
        const struct import_job *job;

        if (parcel->step != PARCEL_LOOK || parcel->errand.in_flight)
            continue;
        job = import_job_listing_find(&listing, parcel->batch.job_id);
        if (job)
            parcel_note_job(d, parcel, job);
        else
            parcel->look_alone = true;
    }
    import_job_listing_release(&listing);
}

static void list_answer(struct deliver *d, const struct answer *answer,
                        const struct verdict *verdict)
{
    struct list list;
    struct error err = ERROR_INIT;

    if (verdict->action == VERDICT_GONE) {
        deliver_fail(d, "list_gone",
                     "Klaviyo has no list %s (any more): make one and name it with export update",
                     d->task->list_id);
        return;
    }
    if (!list_parse(answer, &list, &err)) {
        errand_again(d, &d->list, 0);
        return;
    }
    d->list_state = LIST_THERE;
    for (size_t i = 0; i < d->n_parcels; i++)
        d->parcels[i]->waits_for_list = false;
    if (!d->task->list_known && !runs_store_list_name(d->db, d->task, list.name, &err))
        deliver_let_go(d, &err);
}

static void useful_answer(struct deliver *d, struct errand *errand, const struct answer *answer,
                          const struct verdict *verdict)
{
    d->key_gate_ms = 0;
    if (errand->parcel)
        parcel_answer(d, errand->parcel, answer, verdict);
    else if (errand == &d->list)
        list_answer(d, answer, verdict);
    else
        listing_answer(d, answer);
}

/* Once more after a while; the second time the key is refused. */
static void key_refused(struct deliver *d, struct errand *errand, const struct verdict *verdict)
{
    char text[VERDICT_TEXT_BYTES];

    errand->due_ms = 0;
    if (d->key_gate_ms == 0) {
        d->key_gate_ms = clock_ms() + KEY_RETRY_MS;
        d->sums.retries++;
        return;
    }
    if (clock_ms() < d->key_gate_ms)
        return; /* sent before the first refusal came */
    verdict_text(verdict, text);
    d->result->key_refused = true;
    deliver_fail(d, "key_refused",
                 "%s, twice: give connection %s a new key with connection rotate-key", text,
                 d->task->connection_name);
}

/* All workers of the account heed what Klaviyo said about when to come back. */
static void come_back_later(struct deliver *d, struct errand *errand, const struct verdict *verdict,
                            int64_t wait_ms)
{
    struct error err = ERROR_INIT;

    verdict_text(verdict, d->last_trouble);
    if (wait_ms > 0) {
        close_gate(d, errand->endpoint, wait_ms);
        if (!budget_block(d->db, d->task->account, endpoint_name(errand->endpoint), wait_ms,
                          &err)) {
            deliver_let_go(d, &err);
            return;
        }
    }
    errand_again(d, errand, wait_ms);
}

static void throttled(struct deliver *d, struct errand *errand, const struct verdict *verdict)
{
    d->sums.throttled++;
    (void)atomic_fetch_add(&d->options->control->throttled, 1);
    come_back_later(d, errand, verdict,
                    verdict->retry_after_ms > 0 ? verdict->retry_after_ms : THROTTLED_MS);
}

static void unexpected(struct deliver *d, const struct verdict *verdict)
{
    char text[VERDICT_TEXT_BYTES];
    char detail[VERDICT_DETAIL_BYTES];

    verdict_text(verdict, text);
    verdict_redacted_detail(verdict, detail);
    deliver_fail(d, "answer_unexpected", "%s: %s", text, detail);
}

static void act_on(struct deliver *d, struct errand *errand, const struct answer *answer,
                   const struct verdict *verdict)
{
    switch (verdict->action) {
    case VERDICT_OK:
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_GONE:
        useful_answer(d, errand, answer, verdict);
        return;
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
        key_refused(d, errand, verdict);
        return;
    case VERDICT_THROTTLED:
        throttled(d, errand, verdict);
        return;
    case VERDICT_AGAIN:
        come_back_later(d, errand, verdict, verdict->retry_after_ms);
        return;
    case VERDICT_UNEXPECTED:
        break;
    }
    unexpected(d, verdict);
}

static void take_answer(struct deliver *d, struct answer *answer)
{
    struct errand *errand = answer->tag;
    struct verdict verdict = VERDICT_INIT;
    struct error err = ERROR_INIT;
    size_t rows = errand->endpoint == ENDPOINT_IMPORT ? (size_t)errand->parcel->batch.rows : 0;

    errand->in_flight = false;
    tally_answer(&d->options->control->tally, answer);
    FAILPOINT("answer.after");
    log_debug("answer", LOG_INT("run", d->task->run_id),
              LOG_STR("endpoint", endpoint_name(errand->endpoint)),
              LOG_STR("transport", transport_name(answer->transport)),
              LOG_INT("status", answer->status), LOG_INT("duration_ms", answer->duration_ms));
    if (!budget_return(d->db, errand->place_id, &err) ||
        !verdict_judge(answer, rows, clock_utc_us(), &verdict, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    act_on(d, errand, answer, &verdict);
    verdict_release(&verdict);
}

static void take_answers(struct deliver *d)
{
    struct answer answer = ANSWER_INIT;

    while (!d->over && client_next(d->options->client, &answer)) {
        take_answer(d, &answer);
        answer_release(&answer);
    }
}

/* ---- the loop ---- */

static void mind_control(struct deliver *d)
{
    struct run_control *control = d->options->control;
    int64_t drain_ms = atomic_load(&control->drain_ms);

    if (d->over)
        return;
    if (atomic_load(&control->cut_off) ||
        (drain_ms > 0 && (imports_in_flight(d) == 0 || clock_ms() >= drain_ms)))
        end(d, DELIVER_DRAINED);
}

/* Nothing on its way, nothing to come. */
static void mind_end(struct deliver *d)
{
    if (!d->over && d->n_parcels == 0 && !d->more_planned && !d->list.in_flight &&
        plan_has_ended(d->options->plan))
        end(d, DELIVER_DONE);
}

static int64_t next_due_ms(const struct deliver *d, const struct errand *errand)
{
    int64_t due = errand->due_ms;

    if (errand->in_flight)
        return NEVER_MS;
    if (d->gate_ms[errand->endpoint] > due)
        due = d->gate_ms[errand->endpoint];
    return (d->key_gate_ms > due ? d->key_gate_ms : due) - clock_ms();
}

/* Until something is due; the bell, an answer or the lease may end it sooner. */
static int64_t wait_ms(const struct deliver *d)
{
    int64_t wait = TURN_MS, lease = d->lease.next_ms - clock_ms();

    for (size_t i = 0; i < d->n_parcels; i++) {
        int64_t due = next_due_ms(d, &d->parcels[i]->errand);
        if (!d->parcels[i]->waits_for_list && due < wait)
            wait = due;
    }
    if (lease < wait)
        wait = lease;
    /* What is due and was not started waits for room or an answer: no spinning. */
    return wait < 5 ? 5 : wait;
}

static void wait_for_something(struct deliver *d)
{
    struct error err = ERROR_INIT;
    uint64_t rung;

    if (!client_wait(d->options->client, wait_ms(d), d->options->bell_fd, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    /* The bell is a hint: what it stands for is looked up anyway. */
    if (read(d->options->bell_fd, &rung, sizeof rung) < 0)
        return;
}

static void turn(struct deliver *d)
{
    take_answers(d);
    drop_finished(d);
    mind_lease(d);
    mind_plan(d);
    mind_patience(d);
    fetch_planned(d);
    start_due(d);
    mind_control(d);
    mind_end(d);
    if (!d->over)
        wait_for_something(d);
}

static void release(struct deliver *d)
{
    client_abort_all(d->options->client);
    for (size_t i = 0; i < d->n_parcels; i++)
        parcel_free(d->parcels[i]);
    free(d->parcels);
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
    adopt_jobs(&d);
    while (!d.over)
        turn(&d);
    if (result->outcome != DELIVER_LET_GO)
        renew_lease(&d); /* the last counts */
    if (result->outcome == DELIVER_DONE) {
        const struct run_counts counts = plan_counts(options->plan);
        tally_counts(&options->control->tally, &counts);
    }
    release(&d);
}
