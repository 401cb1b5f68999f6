#include <sodium.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "worker/export/deliver_state.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/store/rate_limit.h"

/*
 * When what is sent: an errand that is due goes once its endpoint's gate is
 * open, the account has a permit for it and its body has room.
 */
enum {
    TURN_MS = 1000, /* the longest wait of the loop, with nothing due */
    NEVER_MS = 24 * 3600 * 1000,
};

void dispatch_close_gate(struct deliver *d, enum endpoint endpoint, int64_t wait_ms)
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

/* A permit in the account's budget; without one the endpoint's gate is closed. */
static bool acquire_permit(struct deliver *d, struct errand *errand)
{
    struct endpoint_limit published = endpoint_limit(errand->endpoint);
    struct rate_limit_claim claim = {
        .account = d->task->account,
        .endpoint = endpoint_name(errand->endpoint),
        .burst = published.per_second,
        .steady = published.per_minute,
        .timeout_ms = d->options->settings->request_timeout_seconds * 1000,
    };
    struct rate_limit_permit permit;
    struct error err = ERROR_INIT;

    if (!rate_limit_acquire(d->db, &claim, &permit, &err)) {
        deliver_let_go(d, &err);
        return false;
    }
    errand->permit_id = permit.permit_id;
    if (permit.permit_id)
        return true;
    dispatch_close_gate(d, errand->endpoint, permit.wait_ms);
    (void)atomic_fetch_add(&d->options->control->limit_wait_ms, permit.wait_ms);
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

/* Loading the body and taking the permit took time: is there enough of the lease left? */
static bool is_still_ours(struct deliver *d, const struct errand *errand)
{
    struct error err = ERROR_INIT;

    if (errand->endpoint != ENDPOINT_IMPORT || lease_allows_import(&d->lease, clock_ms()))
        return true;
    if (!rate_limit_release(d->db, errand->permit_id, &err))
        deliver_let_go(d, &err);
    return false;
}

/*
 * Imports go one after the other at the pace that the limit allows, not in
 * bursts: the rate is the same, and when Klaviyo says stop, few are in the air.
 */
static void keep_pace(struct deliver *d, enum endpoint endpoint)
{
    if (endpoint == ENDPOINT_IMPORT)
        dispatch_close_gate(d, endpoint, 1000 / endpoint_limit(endpoint).per_second);
}

/* Nothing was sent: its permit is free again. */
static void not_started(struct deliver *d, struct errand *errand, const struct error *why)
{
    struct error err = ERROR_INIT;

    (void)snprintf(d->last_trouble, sizeof d->last_trouble, "%.200s", why->text);
    if (rate_limit_release(d->db, errand->permit_id, &err))
        errand_again(d, errand, 0);
    else
        deliver_let_go(d, &err);
}

/* The request's body and strings live in the parcel until the response. */
static void start(struct deliver *d, struct errand *errand, struct request request)
{
    struct error err = ERROR_INIT;

    if (!acquire_permit(d, errand) || !is_still_ours(d, errand))
        return;
    request.traceparent = d->task->traceparent;
    FAILPOINT("request.before");
    if (!client_start(d->options->client, &request, errand, &err)) {
        not_started(d, errand, &err);
        return;
    }
    errand->in_flight = true;
    d->sums.requests++;
    keep_pace(d, errand->endpoint);
}

/* Now: while it is throttled or failed a moment ago, jobs are looked at one by one. */
static bool listing_may_go(const struct deliver *d)
{
    int64_t now = clock_ms();

    return !d->no_listing && now >= d->listing.due_ms && now >= d->gate_ms[ENDPOINT_JOBS];
}

/* Looks that the listing of jobs answers all at once. */
static size_t common_looks(const struct deliver *d, bool *due)
{
    size_t n = 0;

    *due = false;
    for (size_t i = 0; i < d->n_parcels && listing_may_go(d); i++) {
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
    if (parcel->step == PARCEL_POST && parcels_posting(d) >= DELIVER_IMPORTS_MAX)
        return;
    if (parcel->step != PARCEL_LOOK && !parcel_load(d, parcel))
        return;
    start(d, &parcel->errand, parcel_request(d, parcel));
}

void dispatch_due(struct deliver *d)
{
    bool looks_due;
    bool common = common_looks(d, &looks_due) > 1 || d->listing.in_flight;

    if (d->list_state == LIST_WANTED && plan_may_deliver(d->options->plan) &&
        may_start(d, &d->list))
        start(d, &d->list, klaviyo_list_request(d->task->list_id));
    if (common && looks_due && may_start(d, &d->listing))
        start(d, &d->listing, import_job_listing_request());
    for (size_t i = 0; i < d->n_parcels && !d->over; i++) {
        struct parcel *parcel = d->parcels[i];

        if (parcel->step != PARCEL_LOOK || parcel->look_alone || !common)
            start_parcel(d, parcel);
    }
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

/* When a parcel's next request may go; a look waits for a listing in the air. */
static int64_t parcel_due_ms(const struct deliver *d, const struct parcel *parcel)
{
    bool listed = parcel->step == PARCEL_LOOK && !parcel->look_alone && d->listing.in_flight;

    return parcel->waits_for_list || listed ? NEVER_MS : next_due_ms(d, &parcel->errand);
}

/* Until something is due; the bell, a response or the lease may end it sooner. */
int64_t dispatch_wait_ms(const struct deliver *d)
{
    int64_t wait = TURN_MS, lease = d->lease.next_ms - clock_ms();

    if (d->list_state == LIST_WANTED && next_due_ms(d, &d->list) < wait)
        wait = next_due_ms(d, &d->list);
    for (size_t i = 0; i < d->n_parcels; i++) {
        int64_t due = parcel_due_ms(d, d->parcels[i]);
        if (due < wait)
            wait = due;
    }
    if (lease < wait)
        wait = lease;
    /* What is due and was not started waits for room or a response: no spinning. */
    return wait < 5 ? 5 : wait;
}
