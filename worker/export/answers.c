#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/export/deliver_state.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/store/rate_limit.h"

/*
 * What a response means for the run: of use to an errand, in vain, or the end.
 */
enum {
    KEY_RETRY_MS = 10 * 1000, /* between a refused key and the second try */
    THROTTLED_MS = 1000,      /* a 429 that does not say for how long: the burst window */
    LISTING_TRIES = 2,        /* in vain, one after the other */
};

/* It only saves requests: where it is of no use, each job is asked for by itself. */
static void do_without_listing(struct deliver *d, int status)
{
    d->no_listing = true;
    log_info("job_listing_given_up", LOG_INT("run", d->task->run_id), LOG_INT("status", status));
}

static bool is_listing_useless(const struct deliver *d, enum verdict_action action)
{
    switch (action) {
    case VERDICT_OK:
    case VERDICT_THROTTLED:
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
        return false;
    case VERDICT_AGAIN:
        return d->listing.attempts >= LISTING_TRIES;
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_GONE:
    case VERDICT_UNEXPECTED:
        break;
    }
    return true;
}

/* A page of the newest jobs: whose job is not on it is looked at alone. */
static void listing_answer(struct deliver *d, const struct response *response)
{
    struct import_job_listing listing = IMPORT_JOB_LISTING_INIT;
    struct error err = ERROR_INIT;

    if (!import_job_listing_parse(response, &listing, &err)) {
        if (is_listing_useless(d, VERDICT_AGAIN))
            do_without_listing(d, response->status);
        else
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

static void list_answer(struct deliver *d, const struct response *response,
                        const struct verdict *verdict)
{
    struct klaviyo_list list;
    struct error err = ERROR_INIT;

    if (verdict->action == VERDICT_GONE) {
        deliver_fail(d, "list_gone",
                     "Klaviyo has no list %s (any more): make one and name it with export update",
                     d->task->list_id);
        return;
    }
    if (!klaviyo_list_parse(response, &list, &err)) {
        errand_again(d, &d->list, 0);
        return;
    }
    d->list_state = LIST_THERE;
    for (size_t i = 0; i < d->n_parcels; i++)
        d->parcels[i]->waits_for_list = false;
    if (!d->task->list_known && !runs_store_list_name(d->db, d->task, list.name, &err))
        deliver_let_go(d, &err);
}

static void useful_answer(struct deliver *d, struct errand *errand, const struct response *response,
                          const struct verdict *verdict)
{
    if (errand->endpoint == d->key_refused_at) /* another one may need less of the key */
        d->key_gate_ms = 0;
    if (errand->parcel)
        parcel_answer(d, errand->parcel, response, verdict);
    else if (errand == &d->list)
        list_answer(d, response, verdict);
    else
        listing_answer(d, response);
}

/* Once more after a while; the second time the key is refused. */
static void key_refused(struct deliver *d, struct errand *errand, const struct verdict *verdict)
{
    char text[VERDICT_TEXT_BYTES];

    errand->due_ms = 0;
    if (d->key_gate_ms == 0) {
        d->key_gate_ms = clock_ms() + KEY_RETRY_MS;
        d->key_refused_at = errand->endpoint;
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
        dispatch_close_gate(d, errand->endpoint, wait_ms);
        if (!rate_limit_block(d->db, d->task->account, endpoint_name(errand->endpoint), wait_ms,
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

static void act_on(struct deliver *d, struct errand *errand, const struct response *response,
                   const struct verdict *verdict)
{
    if (errand == &d->listing && is_listing_useless(d, verdict->action)) {
        do_without_listing(d, verdict->status);
        return;
    }
    switch (verdict->action) {
    case VERDICT_OK:
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_GONE:
        useful_answer(d, errand, response, verdict);
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

static void take_answer(struct deliver *d, struct response *response)
{
    struct errand *errand = response->tag;
    struct verdict verdict = VERDICT_INIT;
    struct error err = ERROR_INIT;
    size_t rows = errand->endpoint == ENDPOINT_IMPORT ? (size_t)errand->parcel->batch.rows : 0;

    errand->in_flight = false;
    run_metrics_response(&d->options->control->run_metrics, response);
    FAILPOINT("answer.after");
    log_debug("answer", LOG_INT("run", d->task->run_id),
              LOG_STR("endpoint", endpoint_name(errand->endpoint)),
              LOG_STR("transport", transport_name(response->transport)),
              LOG_INT("status", response->status), LOG_INT("duration_ms", response->duration_ms));
    if (!rate_limit_release(d->db, errand->permit_id, &err) ||
        !verdict_judge(response, rows, clock_utc_us(), &verdict, &err)) {
        deliver_let_go(d, &err);
        return;
    }
    act_on(d, errand, response, &verdict);
    verdict_release(&verdict);
}

void answers_take(struct deliver *d)
{
    struct response response = ANSWER_INIT;

    while (!d->over && client_next(d->options->client, &response)) {
        take_answer(d, &response);
        response_release(&response);
    }
}
