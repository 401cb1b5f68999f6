#include "worker/export/batch_import.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "worker/klaviyo/document.h"
#include "worker/klaviyo/import_body.h"
#include "worker/klaviyo/import_errors.h"

struct batch_import *batch_import_new(struct outbox_batch *batch)
{
    struct batch_import *import = calloc(1, sizeof *import);

    if (!import)
        return NULL;
    import->batch = *batch;
    batch->job_id = NULL;
    import->unanswered = batch->posted;
    import->step = import->batch.job_id ? IMPORT_POLL : IMPORT_POST;
    import->request =
        (struct pending_request){ .kind = PENDING_IMPORT,
                                  .import = import,
                                  .endpoint =
                                      import->batch.job_id ? ENDPOINT_JOB : ENDPOINT_IMPORT };
    import->body = STRBUF_INIT(IMPORT_BODY_MAX_BYTES);
    import->split = BATCH_SPLIT_INIT;
    import->failures = IMPORT_FAILURES_INIT;
    return import;
}

struct batch_import *batch_import_of_late_job(struct late_job *job)
{
    struct outbox_batch batch = { .batch_id = -job->late_job_id, .job_id = job->job_id };
    struct batch_import *import = batch_import_new(&batch);

    if (!import)
        return NULL;
    job->job_id = NULL;
    import->late_job_id = job->late_job_id;
    import->one_look = job->given_up;
    return import;
}

/* Drops the body, and what is known of its rows. */
static void unload_body(struct batch_import *import)
{
    import_failures_release(&import->failures);
    batch_split_release(&import->split);
    rows_release(&import->rows);
    strbuf_release(&import->body);
    import->loaded = false;
}

void batch_import_free(struct batch_import *import)
{
    if (!import)
        return;
    unload_body(import);
    free(import->batch.job_id);
    free(import);
}

struct request batch_import_request(const struct batch_import *import, const struct strbuf *tail)
{
    switch (import->step) {
    case IMPORT_POST:
        return import_body_request(import->body.data, import->body.len, tail);
    case IMPORT_POLL:
        return import_job_poll_request(import->batch.job_id);
    case IMPORT_ERRORS:
        return import_error_request(import->batch.job_id, import->failures.next);
    case IMPORT_OVER:
        break;
    }
    assert(false && "an import that is over asks for nothing");
    abort();
}

bool batch_import_loaded(struct batch_import *import, struct error *err)
{
    if (import->step == IMPORT_ERRORS &&
        (!rows_parse(&import->rows, import->body.data, import->body.len, err) ||
         !import_failures_begin(&import->failures, import->n_failed, import->rows.n, err)))
        return false;
    import->loaded = true;
    return true;
}

/* ---- steps ---- */

static void go_to_step(struct batch_import *import, enum import_step step)
{
    static const enum endpoint endpoints[] = { ENDPOINT_IMPORT, ENDPOINT_JOB,
                                               ENDPOINT_IMPORT_ERRORS, ENDPOINT_IMPORT };

    unload_body(import);
    import->step = step;
    import->request.endpoint = endpoints[step];
    import->request.attempts = 0;
    import->request.due_ms = 0;
}

void batch_import_watch(struct batch_import *import, const struct import_context *context)
{
    go_to_step(import, IMPORT_POLL);
    import->poll_alone = false;
    import->watched_ms = context->now_ms;
    import->interval_ms = context->rules->poll_interval_min_ms;
    import->request.due_ms = context->now_ms + import->interval_ms;
    import->give_up_ms = context->now_ms + context->rules->job_budget_ms;
}

/* The job failed: the same bytes are sent again, after a while. */
static void want_resend(struct batch_import *import, const char *why, bool job_is_over)
{
    bool is_odd = !job_is_over && import->odd_status[0];

    import->wanted = EFFECT_RESEND;
    (void)snprintf(import->why, sizeof import->why, "%s%s%s", why, is_odd ? ": its status is " : "",
                   is_odd ? import->odd_status : "");
    import->job_is_over = job_is_over;
}

static void resent(struct batch_import *import, const struct import_context *context)
{
    unsigned attempts = import->request.attempts + import->resends++;

    free(import->batch.job_id);
    import->batch.job_id = NULL;
    go_to_step(import, IMPORT_POST);
    import->request.attempts = attempts;
    request_schedule_again(context->schedule, &import->request, context->now_ms, 0);
}

void batch_import_expire(struct batch_import *import, int64_t now_ms)
{
    if (import->late_job_id && !import->request.in_flight && import->wanted == EFFECT_NONE &&
        now_ms >= import->give_up_ms)
        import->wanted = EFFECT_LEAVE_LATE_JOB;
}

static enum import_step step_after(enum effect_kind wanted)
{
    if (wanted == EFFECT_MARK_SENT)
        return IMPORT_POLL;
    return wanted == EFFECT_RESEND ? IMPORT_POST : IMPORT_OVER;
}

void batch_import_effect(struct batch_import *import, struct effect *effect)
{
    *effect = (struct effect){
        .kind = import->wanted,
        .batch_id = import->batch.batch_id,
        .n_rows = import->batch.rows,
        .from = import->step,
        .to = step_after(import->wanted),
        .job_id =
            import->wanted == EFFECT_RESEND && import->job_is_over ? NULL : import->batch.job_id,
        .unanswered = import->unanswered,
        .late_job_id = import->late_job_id,
        .why = import->why,
        .rows = &import->rows,
        .failures = import->step == IMPORT_ERRORS ? &import->failures : NULL,
        .split = &import->split,
        .body = &import->body,
    };
}

void batch_import_performed(struct batch_import *import, const struct import_context *context)
{
    enum effect_kind performed = import->wanted;

    import->wanted = EFFECT_NONE;
    if (performed == EFFECT_MARK_SENT) {
        import->unanswered = false;
        batch_import_watch(import, context);
    } else if (performed == EFFECT_RESEND) {
        resent(import, context);
    } else {
        go_to_step(import, IMPORT_OVER);
    }
}

/* ---- events of its job ---- */

static void lengthen_interval(struct batch_import *import, const struct import_rules *rules)
{
    import->interval_ms = import->interval_ms * 3 / 2;
    if (import->interval_ms > rules->poll_interval_max_ms)
        import->interval_ms = rules->poll_interval_max_ms;
}

/*
 * A job that the listing for others showed early keeps its first poll, and the interval
 * it had: its polls become no rarer because others are looked at.
 */
static void poll_later(struct batch_import *import, const struct import_context *context)
{
    bool early = context->now_ms < import->request.due_ms;
    int64_t first_ms = import->watched_ms + context->rules->poll_interval_min_ms;

    if (import->late_job_id && import->one_look) {
        import->wanted = EFFECT_LEAVE_LATE_JOB;
        return;
    }
    if (!import->late_job_id && context->now_ms >= import->give_up_ms) {
        want_resend(import, "did not end in time", false);
        return;
    }
    if (early && import->request.due_ms == first_ms)
        return;
    if (!early)
        lengthen_interval(import, context->rules);
    import->request.due_ms = context->now_ms + import->interval_ms;
}

static void job_ended(struct batch_import *import, int64_t n_failed)
{
    import->n_failed = n_failed;
    if (n_failed == 0)
        import->wanted = EFFECT_CONFIRM;
    else
        go_to_step(import, IMPORT_ERRORS);
}

void batch_import_job(struct batch_import *import, const struct import_context *context,
                      const struct import_job *job)
{
    import->request.attempts = 0;
    (void)snprintf(import->odd_status, sizeof import->odd_status, "%s", job->odd_status);
    if (import->late_job_id && import_job_has_ended(job)) {
        import->wanted = EFFECT_SETTLE_LATE_JOB;
        return;
    }
    switch (job->status) {
    case IMPORT_JOB_COMPLETE:
        job_ended(import, job->failed);
        return;
    case IMPORT_JOB_CANCELLED:
        import->request.attempts = 1;
        want_resend(import, "was cancelled", true);
        return;
    case IMPORT_JOB_UNKNOWN:
    case IMPORT_JOB_QUEUED:
    case IMPORT_JOB_PROCESSING:
        break;
    }
    poll_later(import, context);
}

/* ---- responses ---- */

bool batch_import_refused(struct batch_import *import, struct verdict *verdict, struct error *err)
{
    if (!rows_parse(&import->rows, import->body.data, import->body.len, err))
        return false;
    if (verdict->n_rows > 0)
        batch_split_strip(&import->split, verdict, import->rows.n);
    else
        batch_split_halve(&import->split, verdict, import->rows.n);
    import->wanted = EFFECT_SPLIT;
    return true;
}

static bool job_accepted(struct batch_import *import, const struct verdict *verdict,
                         struct error *err)
{
    import->batch.job_id = strdup(verdict->job.id);
    if (!import->batch.job_id)
        return error_no_memory(err);
    import->wanted = EFFECT_MARK_SENT;
    return true;
}

static bool post_response(struct batch_import *import, const struct import_context *context,
                          struct verdict *verdict, struct error *err)
{
    switch (verdict->action) {
    case VERDICT_ACCEPTED:
        return job_accepted(import, verdict, err);
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
        return batch_import_refused(import, verdict, err);
    case VERDICT_OK:
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
    case VERDICT_GONE:
    case VERDICT_THROTTLED:
    case VERDICT_AGAIN:
    case VERDICT_UNEXPECTED:
        break;
    }
    request_schedule_again(context->schedule, &import->request, context->now_ms, 0);
    return true;
}

static bool read_poll(const struct batch_import *import, const struct response *response,
                      struct import_job *job, struct error *err)
{
    return import_job_parse(response, job, err) &&
           (strcmp(job->id, import->batch.job_id) == 0 ||
            document_refuse(response, "it is about another job", err));
}

/*
 * An earlier run's job is left in time: were the run parked because of it, each owner would
 * wait for the whole time of a job.
 */
static void poll_response(struct batch_import *import, const struct import_context *context,
                          const struct response *response)
{
    struct import_job job;
    struct error malformed = ERROR_INIT;

    if (read_poll(import, response, &job, &malformed))
        batch_import_job(import, context, &job);
    else if (import->late_job_id)
        request_schedule_again(context->schedule, &import->request, context->now_ms, 0);
    else
        request_schedule_unread(context->schedule, &import->request, context->now_ms, &malformed);
}

/* The job does not say how many rows failed, and its errors name none: was that all? */
static bool says_nothing(const struct import_failures *failures)
{
    return failures->n_failed == -1 && failures->n == 0 && failures->n_unmatched == 0;
}

/*
 * Only the job can say that none failed: it is polled again, and its errors after it,
 * for as long as a job may take. No answer confirms nothing.
 */
static void ask_job_again(struct batch_import *import, const struct import_context *context)
{
    if (context->now_ms >= import->give_up_ms) {
        want_resend(import, "did not say how many rows failed", true);
        return;
    }
    go_to_step(import, IMPORT_POLL);
    poll_later(import, context);
}

static bool read_error_page(struct batch_import *import, const struct import_context *context,
                            const struct import_error_page *page, struct error *err)
{
    bool more;

    if (!import_failures_page(&import->failures, &import->rows, page, &more, err))
        return false;
    if (!more && says_nothing(&import->failures)) {
        ask_job_again(import, context);
        return true;
    }
    import->request.attempts = 0;
    import->request.due_ms = 0;
    if (!more)
        import->wanted = EFFECT_CONFIRM;
    return true;
}

static bool errors_response(struct batch_import *import, const struct import_context *context,
                            const struct response *response, struct error *err)
{
    struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    struct error malformed = ERROR_INIT;

    if (!import_error_page_parse(response, &page, &malformed)) {
        request_schedule_unread(context->schedule, &import->request, context->now_ms, &malformed);
        return true;
    }
    bool ok = read_error_page(import, context, &page, err);
    import_error_page_release(&page);
    return ok;
}

bool batch_import_response(struct batch_import *import, const struct import_context *context,
                           const struct response *response, struct verdict *verdict,
                           struct error *err)
{
    if (import->step == IMPORT_POST)
        return post_response(import, context, verdict, err);
    if (verdict->action == VERDICT_GONE && import->late_job_id) {
        import->wanted = EFFECT_SETTLE_LATE_JOB;
        return true;
    }
    if (verdict->action == VERDICT_GONE) {
        import->request.attempts++;
        want_resend(import, "is unknown to Klaviyo", true);
        return true;
    }
    if (import->step == IMPORT_ERRORS)
        return errors_response(import, context, response, err);
    poll_response(import, context, response);
    return true;
}
