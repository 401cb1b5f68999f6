#include "worker/export/perform.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/store/late_jobs.h"
#include "worker/store/outbox.h"
#include "worker/store/rate_limit.h"
#include "worker/store/rejections.h"

enum { LONG_WAIT_MS = 60 * 1000 /* chosen: more than the longest window of a limit */ };

/* ---- batches ---- */

static void log_step(const struct performer *p, const struct effect *effect)
{
    if (effect->from != effect->to)
        log_debug("batch_step", LOG_INT("run", p->task->run_id), LOG_INT("batch", effect->batch_id),
                  LOG_INT("from", effect->from), LOG_INT("to", effect->to));
}

static bool perform_fetch_planned(const struct performer *p, const struct effect *effect,
                                  struct effect_result *result, struct error *err)
{
    struct outbox_window window = { .held = effect->held,
                                    .n_held = effect->n_held,
                                    .max = effect->max };

    return outbox_planned(p->db, p->task, &window, &result->batches, err);
}

/* Klaviyo took it. The job is remembered before anything else happens. */
static bool perform_mark_sent(const struct performer *p, const struct effect *effect,
                              struct error *err)
{
    struct outbox_job job = { .job_id = effect->job_id, .unanswered = effect->unanswered };

    if (!outbox_mark_sent(p->db, p->task, effect->batch_id, &job, err))
        return false;
    (void)atomic_fetch_add(&p->run_metrics->batches_sent, 1);
    log_info("batch_sent", LOG_INT("run", p->task->run_id), LOG_INT("batch", effect->batch_id),
             LOG_INT("rows", effect->n_rows), LOG_STR("job", effect->job_id));
    return true;
}

static bool perform_resend(const struct performer *p, const struct effect *effect,
                           struct error *err)
{
    if (!outbox_send_again(p->db, p->task, effect->batch_id, effect->job_id, err))
        return false;
    log_warn("job_lost", LOG_INT("run", p->task->run_id), LOG_INT("batch", effect->batch_id),
             LOG_STR("why", effect->why));
    return true;
}

/* ---- late jobs ---- */

static bool perform_settle_late_job(const struct performer *p, const struct effect *effect,
                                    struct error *err)
{
    if (!late_job_settle(p->db, p->task, effect->late_job_id, err))
        return false;
    log_info("late_job_ended", LOG_INT("run", p->task->run_id),
             LOG_STR("export", p->task->export_name), LOG_STR("job", effect->job_id));
    return true;
}

static bool perform_leave_late_job(const struct performer *p, const struct effect *effect,
                                   struct error *err)
{
    if (!late_job_leave(p->db, p->task, effect->late_job_id, err))
        return false;
    log_warn("late_job_left", LOG_INT("run", p->task->run_id),
             LOG_STR("export", p->task->export_name), LOG_STR("job", effect->job_id));
    return true;
}

/* ---- confirming ---- */

static void add_refused(struct refused_rows *refused, const struct effect *effect)
{
    const struct import_failures *failures = effect->failures;

    for (size_t i = 0; i < failures->n; i++) {
        size_t position = failures->failed[i].row;
        const struct row *row = &effect->rows->row[position];

        refused_rows_add(refused, position, (struct bytes){ row->address, row->address_len },
                         import_failures_code(failures, i), import_failures_detail(failures, i));
    }
    for (int64_t i = 0; i < failures->n_unidentified; i++)
        refused_rows_add_unidentified(refused, "unnamed",
                                      "Klaviyo counted a failed row and named none");
}

static bool perform_confirm(const struct performer *p, const struct effect *effect,
                            struct error *err)
{
    int64_t rejected = effect->failures ? import_failures_count(effect->failures) : 0;
    CLEANUP(refused_rows_release) struct refused_rows refused;

    refused_rows_init(&refused);
    if (effect->failures)
        add_refused(&refused, effect);
    if (!outbox_confirm(p->db, p->task, effect->batch_id, &refused, err))
        return false;
    log_info("batch_complete", LOG_INT("run", p->task->run_id), LOG_INT("batch", effect->batch_id),
             LOG_INT("accepted", effect->n_rows - rejected), LOG_INT("rejected", rejected));
    (void)atomic_fetch_add(&p->run_metrics->accepted_rows, effect->n_rows - rejected);
    (void)atomic_fetch_add(&p->run_metrics->rejected_rows, rejected);
    return true;
}

/* ---- splitting ---- */

static void fill_split(struct outbox_split *out, const struct effect *effect)
{
    size_t next = 0;

    for (size_t i = 0; i < effect->rows->n; i++) {
        const struct row *row = &effect->rows->row[i];
        struct batch_split_row part = batch_split_row(effect->split, i, &next);
        struct outbox_split_row out_row = { .address = { row->address, row->address_len },
                                            .offset = (size_t)(row->object - effect->body->data),
                                            .len = row->len,
                                            .part = part.part,
                                            .code = part.code,
                                            .detail = part.detail };

        outbox_split_add(out, &out_row);
    }
}

static bool perform_split(const struct performer *p, const struct effect *effect, struct error *err)
{
    size_t kept = batch_split_kept(effect->split);
    size_t refused = effect->rows->n - kept;
    CLEANUP(outbox_split_release) struct outbox_split out;

    outbox_split_init(&out, effect->batch_id);
    out.unanswered = effect->unanswered;
    fill_split(&out, effect);
    if (!outbox_split(p->db, p->task, &out, err))
        return false;
    log_info("batch_split", LOG_INT("run", p->task->run_id), LOG_INT("batch", effect->batch_id),
             LOG_INT("kept", kept), LOG_INT("refused", refused),
             LOG_STR("code", batch_split_code(effect->split)));
    (void)atomic_fetch_add(&p->run_metrics->rejected_rows, (long long)refused);
    return true;
}

/* ---- taking leavers off the list ---- */

static struct leavers_window window_of(const struct effect *effect)
{
    return (struct leavers_window){ .after = effect->after, .max = effect->max };
}

static bool perform_release_held(const struct performer *p, const struct effect *effect,
                                 struct effect_result *result, struct error *err)
{
    struct leavers_window window = window_of(effect);
    struct leavers_released released;

    if (!leavers_release_held(p->db, p->task, &window, &released, err))
        return false;
    result->last = released.last;
    if (released.n > 0)
        log_info("leavers_held", LOG_INT("run", p->task->run_id),
                 LOG_STR("export", p->task->export_name), LOG_INT("held", released.n));
    return true;
}

static bool perform_fetch_leavers(const struct performer *p, const struct effect *effect,
                                  struct effect_result *result, struct error *err)
{
    struct leavers_window window = window_of(effect);

    return leavers_fetch(p->db, p->task, &window, &result->leavers, err);
}

static bool perform_forget_leavers(const struct performer *p, const struct effect *effect,
                                   struct error *err)
{
    const struct leaver_chunk *leavers = effect->leavers;
    int64_t unknown = 0, kept = 0;

    if (!leavers_removed(p->db, p->task, leavers, err))
        return false;
    for (size_t i = 0; i < leavers->n; i++) {
        kept += leavers->items[i].kept;
        unknown += !leavers->items[i].kept && !leavers->items[i].found;
    }
    log_info("leavers_removed", LOG_INT("run", p->task->run_id),
             LOG_STR("export", p->task->export_name),
             LOG_INT("removed", (int64_t)leavers->n - kept), LOG_INT("unknown", unknown),
             LOG_INT("kept", kept));
    return true;
}

/* ---- sending ---- */

static bool acquire_permit(const struct performer *p, const struct effect *effect,
                           struct rate_limit_permit *permit, struct error *err)
{
    struct endpoint_limit published = endpoint_limit(effect->endpoint);
    struct rate_limit_claim claim = {
        .account = p->task->account,
        .endpoint = endpoint_name(effect->endpoint),
        .burst = published.per_second,
        .steady = published.per_minute,
        .timeout_ms = p->timeout_ms,
    };

    return rate_limit_acquire(p->db, &claim, permit, err);
}

/* Loading the body and acquiring the permit took time: is there enough of the lease left? */
static bool is_still_allowed(const struct performer *p, const struct effect *effect)
{
    return !endpoint_is_write(effect->endpoint) || lease_allows_import(p->lease, clock_ms());
}

static bool start_request(const struct performer *p, const struct effect *effect,
                          struct effect_result *result)
{
    struct request request = effect->request;
    struct error why = ERROR_INIT;

    request.traceparent = p->task->traceparent;
    FAILPOINT("request.before");
    if (client_start(p->client, &request, effect->pending, &why)) {
        result->sent = EFFECT_SENT;
        return true;
    }
    result->sent = EFFECT_NOT_STARTED;
    (void)snprintf(result->why, sizeof result->why, "%.200s", why.text);
    return false;
}

/* A request that changes a list is sent only while the run is this take's, by the database. */
static bool begin_write(const struct performer *p, const struct effect *effect, struct error *err)
{
    if (effect->endpoint == ENDPOINT_IMPORT)
        return outbox_mark_posted(p->db, p->task, effect->batch_id, err);
    return effect->endpoint != ENDPOINT_LIST_REMOVE || leavers_begin_removal(p->db, p->task, err);
}

/* Where nothing was sent, the permit is free again. */
static bool perform_send(const struct performer *p, const struct effect *effect,
                         struct effect_result *result, struct error *err)
{
    struct rate_limit_permit permit;

    if (!acquire_permit(p, effect, &permit, err))
        return false;
    if (!permit.permit_id) {
        result->sent = EFFECT_NO_PERMIT;
        result->wait_ms = permit.wait_ms;
        (void)atomic_fetch_add(&p->run_metrics->limit_wait_ms, permit.wait_ms);
        return true;
    }
    effect->pending->permit_id = permit.permit_id;
    result->sent = EFFECT_NOT_ALLOWED;
    if (!begin_write(p, effect, err))
        return false;
    if (is_still_allowed(p, effect) && start_request(p, effect, result))
        return true;
    return rate_limit_release(p->db, permit.permit_id, err);
}

/* Our own requests are counted, so others use the account, too: all workers slow down. */
static bool slow_down(const struct performer *p, const char *endpoint, struct error *err)
{
    int64_t pace;

    if (!rate_limit_slow(p->db, p->task->account, endpoint, &pace, err))
        return false;
    if (pace == 0)
        return true;
    (void)atomic_fetch_add(&p->run_metrics->slowed, 1);
    log_warn("account_shared_with_others", LOG_INT("run", p->task->run_id),
             LOG_STR("export", p->task->export_name), LOG_STR("endpoint", endpoint),
             LOG_INT("pace_percent", pace));
    return true;
}

/* All workers of the account wait. Logged only if the wait is long enough to be noticed. */
static bool perform_block_account(const struct performer *p, const struct effect *effect,
                                  struct error *err)
{
    const char *endpoint = endpoint_name(effect->endpoint);

    if (!rate_limit_block(p->db, p->task->account, endpoint, effect->wait_ms, err) ||
        (effect->throttled && !slow_down(p, endpoint, err)))
        return false;
    if (effect->wait_ms >= LONG_WAIT_MS)
        log_info("account_blocked", LOG_INT("run", p->task->run_id),
                 LOG_STR("export", p->task->export_name), LOG_STR("endpoint", endpoint),
                 LOG_INT("wait_ms", effect->wait_ms));
    return true;
}

/* Only logged: the next worker finds out for itself. */
static bool perform_give_up_listing(const struct performer *p, const struct effect *effect)
{
    log_info("job_listing_given_up", LOG_INT("run", p->task->run_id),
             LOG_INT("status", effect->status));
    return true;
}

/* ---- one effect ---- */

static bool perform_on_list(const struct performer *p, const struct effect *effect,
                            struct effect_result *result, struct error *err)
{
    switch (effect->kind) {
    case EFFECT_STORE_LIST_NAME:
        return runs_store_list_name(p->db, p->task, effect->list_name, err);
    case EFFECT_CLAIM_LIST:
        return leavers_claim_list(p->db, p->task, &result->claim, err);
    case EFFECT_RELEASE_HELD:
        return perform_release_held(p, effect, result, err);
    case EFFECT_FETCH_LEAVERS:
        return perform_fetch_leavers(p, effect, result, err);
    case EFFECT_FORGET_LEAVERS:
        return perform_forget_leavers(p, effect, err);
    case EFFECT_MARK_SENT:
    case EFFECT_RESEND:
    case EFFECT_SETTLE_LATE_JOB:
    case EFFECT_LEAVE_LATE_JOB:
    case EFFECT_CONFIRM:
    case EFFECT_SPLIT:
    case EFFECT_BLOCK_ACCOUNT:
    case EFFECT_GIVE_UP_LISTING:
    case EFFECT_KEEP_WORDS:
    case EFFECT_FETCH_PLANNED:
    case EFFECT_LOAD_BODY:
    case EFFECT_SEND:
    case EFFECT_NONE:
    case EFFECT_FAIL:
    case EFFECT_DONE:
        break;
    }
    assert(false && "such an effect is not performed on a list");
    abort();
}

static bool perform_on_job(const struct performer *p, const struct effect *effect,
                           struct error *err)
{
    switch (effect->kind) {
    case EFFECT_MARK_SENT:
        return perform_mark_sent(p, effect, err);
    case EFFECT_RESEND:
        return perform_resend(p, effect, err);
    case EFFECT_SETTLE_LATE_JOB:
        return perform_settle_late_job(p, effect, err);
    case EFFECT_LEAVE_LATE_JOB:
        return perform_leave_late_job(p, effect, err);
    case EFFECT_CONFIRM:
        return perform_confirm(p, effect, err);
    case EFFECT_SPLIT:
        return perform_split(p, effect, err);
    case EFFECT_BLOCK_ACCOUNT:
    case EFFECT_STORE_LIST_NAME:
    case EFFECT_GIVE_UP_LISTING:
    case EFFECT_KEEP_WORDS:
    case EFFECT_FETCH_PLANNED:
    case EFFECT_LOAD_BODY:
    case EFFECT_CLAIM_LIST:
    case EFFECT_RELEASE_HELD:
    case EFFECT_FETCH_LEAVERS:
    case EFFECT_FORGET_LEAVERS:
    case EFFECT_SEND:
    case EFFECT_NONE:
    case EFFECT_FAIL:
    case EFFECT_DONE:
        break;
    }
    assert(false && "such an effect is not performed on a job");
    abort();
}

bool perform(const struct performer *performer, const struct effect *effect,
             struct effect_result *result, struct error *err)
{
    log_step(performer, effect);
    switch (effect->kind) {
    case EFFECT_MARK_SENT:
    case EFFECT_RESEND:
    case EFFECT_SETTLE_LATE_JOB:
    case EFFECT_LEAVE_LATE_JOB:
    case EFFECT_CONFIRM:
    case EFFECT_SPLIT:
        return perform_on_job(performer, effect, err);
    case EFFECT_BLOCK_ACCOUNT:
        return perform_block_account(performer, effect, err);
    case EFFECT_GIVE_UP_LISTING:
        return perform_give_up_listing(performer, effect);
    case EFFECT_KEEP_WORDS:
        return rejections_keep_words(performer->db, performer->task, effect->code, effect->detail,
                                     err);
    case EFFECT_FETCH_PLANNED:
        return perform_fetch_planned(performer, effect, result, err);
    case EFFECT_LOAD_BODY:
        return outbox_body(performer->db, performer->task, effect->batch_id, effect->body, err);
    case EFFECT_STORE_LIST_NAME:
    case EFFECT_CLAIM_LIST:
    case EFFECT_RELEASE_HELD:
    case EFFECT_FETCH_LEAVERS:
    case EFFECT_FORGET_LEAVERS:
        return perform_on_list(performer, effect, result, err);
    case EFFECT_SEND:
        return perform_send(performer, effect, result, err);
    case EFFECT_NONE:
    case EFFECT_FAIL:
    case EFFECT_DONE:
        break;
    }
    assert(false && "such an effect is not performed");
    abort();
}
