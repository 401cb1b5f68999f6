#include "worker/export/delivery.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/array.h"
#include "worker/klaviyo/import_body.h"
#include "worker/klaviyo/job_listing.h"

enum {
    BODIES_MAX_BYTES = 15 * 1000 * 1000, /* three of Klaviyo's largest: 64 MiB a run in all */
    LISTING_TRIES = 2,                   /* in vain, one after the other */
    THROTTLED_MS = 1000, /* a 429 that does not say for how long: the burst window */
    TAIL_MAX_BYTES = 1024,
    IN_VAIN_MS = 2000,     /* in vain for so long: told within 5 s of the first (contract) */
    QUIET_MS = 4000,       /* no response for so long: the same */
    HUNG_PAUSE_MS = 3000,  /* chosen: what was begun with it has ended by then, too */
    PARK_MIN_MS = 3000,    /* chosen: less is not worth taking the run again */
    PARK_IN_VAIN_MS = 500, /* chosen: unless it has been in vain for longer than that */
};

bool delivery_init(struct delivery *delivery, const struct delivery_options *options,
                   struct error *err)
{
    *delivery = (struct delivery){
        .options = *options,
        .schedule = { .random = options->random,
                      .imports_until_ms = INT64_MAX,
                      .attempts = options->attempts },
        .tail = STRBUF_INIT(TAIL_MAX_BYTES),
        .plain_tail = STRBUF_INIT(TAIL_MAX_BYTES),
        .more_planned = true,
        .listing = { .endpoint = ENDPOINT_JOBS },
        .listing_status = -1,
        .list = { .endpoint = ENDPOINT_LIST },
        .list_state = options->list_known ? LIST_UNASKED : LIST_WANTED,
    };
    questions_init(&delivery->questions);
    if (options->unavailable)
        delivery->unavailable_since_ms = options->now_ms - PARK_MIN_MS;
    if (options->limited)
        delivery->limited_since_ms = options->now_ms - PARK_MIN_MS;
    if (options->trouble)
        (void)snprintf(delivery->trouble, sizeof delivery->trouble, "%s", options->trouble);
    removal_init(&delivery->removal, options->list_id, options->list_was_busy);
    import_body_add_tail(&delivery->tail, options->list_id);
    import_body_add_tail(&delivery->plain_tail, NULL);
    return (strbuf_ok(&delivery->tail) && strbuf_ok(&delivery->plain_tail)) || error_no_memory(err);
}

void delivery_release(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->n_imports; i++)
        batch_import_free(delivery->imports[i]);
    free(delivery->imports);
    strbuf_release(&delivery->tail);
    strbuf_release(&delivery->plain_tail);
    removal_release(&delivery->removal);
}

static struct import_context context_of(struct delivery *d, int64_t now_ms)
{
    return (struct import_context){ &d->options.rules, &d->schedule, now_ms };
}

static void fail_run(struct delivery *d, enum run_reason reason, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* The first failure counts. */
static void fail_run(struct delivery *d, enum run_reason reason, const char *fmt, ...)
{
    va_list args;

    if (d->reason != REASON_NONE)
        return;
    d->reason = reason;
    va_start(args, fmt);
    (void)vsnprintf(d->detail, sizeof d->detail, fmt, args);
    va_end(args);
}

/* ---- the imports ---- */

static bool add_import(struct delivery *d, struct batch_import *import)
{
    if (!import)
        return false;
    struct batch_import **imports =
        array_grow(d->imports, d->n_imports, &d->cap_imports, sizeof(struct batch_import *));
    if (!imports) {
        batch_import_free(import);
        return false;
    }
    d->imports = imports;
    d->imports[d->n_imports++] = import;
    return true;
}

static bool add_imports(struct delivery *d, struct outbox_batch *batches, size_t n,
                        struct error *err)
{
    bool ok = true;

    for (size_t i = 0; i < n; i++)
        ok = ok && add_import(d, batch_import_new(&batches[i]));
    outbox_batches_free(batches, n);
    return ok || error_no_memory(err);
}

bool delivery_adopt(struct delivery *delivery, struct outbox_batch *batches, size_t n,
                    int64_t now_ms, struct error *err)
{
    struct import_context context = context_of(delivery, now_ms);

    if (!add_imports(delivery, batches, n, err))
        return false;
    for (size_t i = 0; i < delivery->n_imports; i++) {
        batch_import_watch(delivery->imports[i], &context);
        delivery->imports[i]->request.due_ms = now_ms; /* it may have ended meanwhile */
    }
    return true;
}

bool delivery_adopt_late_jobs(struct delivery *delivery, struct late_job *jobs, size_t n,
                              int64_t now_ms, struct error *err)
{
    struct import_context context = context_of(delivery, now_ms);
    bool ok = true;

    for (size_t i = 0; ok && i < n; i++) {
        ok = add_import(delivery, batch_import_of_late_job(&jobs[i]));
        if (!ok)
            break;
        struct batch_import *import = delivery->imports[delivery->n_imports - 1];
        batch_import_watch(import, &context);
        import->request.due_ms = now_ms;
    }
    late_jobs_free(jobs, n);
    return ok || error_no_memory(err);
}

size_t delivery_late_jobs(const struct delivery *delivery)
{
    size_t n = 0;

    for (size_t i = 0; i < delivery->n_imports; i++)
        n += delivery->imports[i]->late_job_id != 0;
    return n;
}

static void drop_finished(struct delivery *d)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->n_imports; i++) {
        if (d->imports[i]->step == IMPORT_OVER)
            batch_import_free(d->imports[i]);
        else
            d->imports[kept++] = d->imports[i];
    }
    d->n_imports = kept;
}

static int64_t bytes_loaded(const struct delivery *d)
{
    int64_t bytes = 0;

    for (size_t i = 0; i < d->n_imports; i++)
        if (d->imports[i]->loaded)
            bytes += d->imports[i]->batch.bytes;
    return bytes;
}

/* One body is let in whatever its size. */
static bool has_room_for(const struct delivery *d, const struct batch_import *import)
{
    int64_t loaded = bytes_loaded(d);

    return import->loaded || loaded == 0 || loaded + import->batch.bytes <= BODIES_MAX_BYTES;
}

size_t delivery_posting(const struct delivery *delivery)
{
    size_t n = 0;

    for (size_t i = 0; i < delivery->n_imports; i++)
        n += delivery->imports[i]->step == IMPORT_POST && delivery->imports[i]->request.in_flight;
    return n;
}

size_t delivery_request_rows(const struct pending_request *pending)
{
    return pending->endpoint == ENDPOINT_IMPORT ? (size_t)pending->import->batch.rows : 0;
}

/* ---- facts ---- */

void delivery_plan(struct delivery *delivery, const struct delivery_plan_news *news)
{
    if (news->more) {
        delivery->more_planned = true;
        delivery->counts.progress++;
    }
    delivery->may_deliver = news->may_deliver;
    delivery->plan_done = news->done;
    if (news->done && delivery->removal.step == REMOVAL_UNDECIDED)
        removal_decide(&delivery->removal, &news->figures, delivery->options.export_name,
                       delivery->options.connection_name);
}

void delivery_ask(struct delivery *delivery, const struct guards_questions *ask)
{
    questions_want(&delivery->questions, ask);
}

void delivery_tell(const struct delivery *delivery, struct guards_facts *facts)
{
    questions_tell(&delivery->questions, facts);
}

void delivery_allow_imports(struct delivery *delivery, int64_t until_ms)
{
    delivery->schedule.imports_until_ms = until_ms;
}

void delivery_drain(struct delivery *delivery)
{
    delivery->schedule.draining = true;
}

/* ---- the listing of jobs ---- */

/* It only saves requests: where it is of no use, each job is asked for by itself. */
static void give_up_listing(struct delivery *d, int status)
{
    d->no_listing = true;
    d->listing_status = status;
}

static bool is_listing_useless(const struct delivery *d, enum verdict_action action)
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

/* A page of the newest jobs: whose job is not on it is polled alone. */
static void note_listing(struct delivery *d, const struct job_listing *listing, int64_t now_ms)
{
    struct import_context context = context_of(d, now_ms);

    d->listing.attempts = 0;
    for (size_t i = 0; i < d->n_imports; i++) {
        struct batch_import *import = d->imports[i];
        const struct import_job *job;

        if (import->step != IMPORT_POLL || import->request.in_flight)
            continue;
        job = job_listing_find(listing, import->batch.job_id);
        if (job)
            batch_import_job(import, &context, job);
        else
            import->poll_alone = true;
    }
}

static void listing_response(struct delivery *d, const struct response *response, int64_t now_ms)
{
    struct job_listing listing = JOB_LISTING_INIT;
    struct error malformed = ERROR_INIT;

    if (job_listing_parse(response, &listing, &malformed)) {
        note_listing(d, &listing, now_ms);
        job_listing_release(&listing);
    } else if (is_listing_useless(d, VERDICT_AGAIN)) {
        give_up_listing(d, response->status);
    } else {
        request_schedule_again(&d->schedule, &d->listing, now_ms, 0);
    }
}

/* ---- the list ---- */

static void list_is_there(struct delivery *d, const struct klaviyo_list *list)
{
    d->list_state = LIST_THERE;
    removal_list_is_there(&d->removal);
    for (size_t i = 0; i < d->n_imports; i++)
        d->imports[i]->waits_for_list = false;
    if (d->options.list_known)
        return;
    (void)snprintf(d->list_name, sizeof d->list_name, "%s", list->name);
    d->list_name_wanted = true;
}

static void list_response(struct delivery *d, const struct response *response,
                          const struct verdict *verdict, int64_t now_ms)
{
    struct klaviyo_list list;
    struct error malformed = ERROR_INIT;

    if (verdict->action == VERDICT_GONE)
        fail_run(d, REASON_LIST_GONE,
                 "Klaviyo has no list %s (any more): make one and name it with export update",
                 d->options.list_id);
    else if (klaviyo_list_parse(response, &list, &malformed))
        list_is_there(d, &list);
    else
        request_schedule_again(&d->schedule, &d->list, now_ms, 0);
}

/* ---- the guards' questions ---- */

/* Whether that was all; else it is a response like any other. */
static bool question_answered(struct delivery *d, const struct pending_request *pending,
                              const struct response *response, const struct verdict *verdict)
{
    enum question question;

    if (!questions_find(&d->questions, pending, &question) ||
        !questions_response(&d->questions, question, response, verdict))
        return false;
    d->counts.throttled += verdict->action == VERDICT_THROTTLED;
    request_schedule_key_accepted(&d->schedule, pending);
    return true;
}

/* It only warns, and may not go now: it is left. */
static bool question_left(struct delivery *d, const struct pending_request *pending,
                          enum effect_sent sent)
{
    enum question question;

    return sent != EFFECT_SENT && questions_find(&d->questions, pending, &question) &&
           questions_leave(&d->questions, question);
}

/* ---- responses ---- */

static bool is_quiet(const struct delivery *d, int64_t now_ms)
{
    return d->schedule.n_in_flight > 0 && now_ms - d->quiet_since_ms >= QUIET_MS;
}

static bool has_job(const struct delivery *d, const char *job_id)
{
    for (size_t i = 0; i < d->n_imports; i++)
        if (d->imports[i]->batch.job_id && strcmp(d->imports[i]->batch.job_id, job_id) == 0)
            return true;
    return false;
}

/* The list is asked for once a run, before rows are suspected. */
static bool import_response(struct delivery *d, struct batch_import *import,
                            const struct response *response, struct verdict *verdict,
                            int64_t now_ms, struct error *err)
{
    struct import_context context = context_of(d, now_ms);

    if (verdict->action == VERDICT_BATCH_REFUSED && d->list_state != LIST_THERE) {
        d->list_state = LIST_WANTED;
        import->waits_for_list = true;
        return true;
    }
    /* A job is that of one batch. */
    if (verdict->action == VERDICT_ACCEPTED && has_job(d, verdict->job.id)) {
        request_schedule_again(&d->schedule, &import->request, now_ms, 0);
        return true;
    }
    return batch_import_response(import, &context, response, verdict, err);
}

static bool response_of_removal(struct delivery *d, const struct response *response,
                                const struct verdict *verdict, int64_t now_ms, struct error *err)
{
    if (!removal_response(&d->removal, &d->schedule, response, verdict, now_ms, err))
        return false;
    if (removal_wants_list(&d->removal))
        d->list_state = LIST_WANTED;
    return true;
}

static bool useful_response(struct delivery *d, struct pending_request *pending,
                            const struct response *response, struct verdict *verdict,
                            int64_t now_ms, struct error *err)
{
    request_schedule_key_accepted(&d->schedule, pending);
    if (pending->import)
        return import_response(d, pending->import, response, verdict, now_ms, err);
    if (removal_owns(&d->removal, pending))
        return response_of_removal(d, response, verdict, now_ms, err);
    if (pending == &d->list)
        list_response(d, response, verdict, now_ms);
    else if (pending == &d->listing)
        listing_response(d, response, now_ms);
    else
        request_schedule_again(&d->schedule, pending, now_ms, 0); /* a malformed answer */
    return true;
}

/* Once more after a while; the second time the key is refused. */
static void key_refused(struct delivery *d, struct pending_request *pending,
                        const struct verdict *verdict, int64_t now_ms)
{
    char text[VERDICT_TEXT_BYTES];

    if (!request_schedule_key_refused(&d->schedule, pending, now_ms))
        return;
    verdict_text(verdict, text);
    d->key_refused = true;
    fail_run(d, REASON_KEY_REFUSED,
             "%s, twice: give connection %s a new key with connection rotate-key", text,
             d->options.connection_name);
}

/* All workers of the account heed what Klaviyo said about when to come back. */
static void come_back_later(struct delivery *d, struct pending_request *pending,
                            const struct verdict *verdict, int64_t wait_ms, int64_t now_ms)
{
    bool hung = now_ms - pending->started_ms >= QUIET_MS;

    verdict_text(verdict, d->trouble);
    if (wait_ms > 0) {
        request_schedule_close(&d->schedule, pending->endpoint, now_ms + wait_ms);
        d->blocked = pending->endpoint;
        d->blocked_ms = wait_ms;
        d->blocked_by_limit = verdict->action == VERDICT_THROTTLED;
    }
    request_schedule_again(&d->schedule, pending, now_ms,
                           hung && wait_ms < HUNG_PAUSE_MS ? HUNG_PAUSE_MS : wait_ms);
}

static void throttled(struct delivery *d, struct pending_request *pending,
                      const struct verdict *verdict, int64_t now_ms)
{
    int64_t wait_ms = verdict->retry_after_ms > 0 ? verdict->retry_after_ms : THROTTLED_MS;

    d->counts.throttled++;
    pending->limited = true;
    verdict_text(verdict, d->limit);
    come_back_later(d, pending, verdict, wait_ms, now_ms);
}

/* Its words may hold anything of anybody: they are kept with the run's rejections. */
static void unexpected_response(struct delivery *d, const struct verdict *verdict)
{
    char text[VERDICT_TEXT_BYTES];

    verdict_text(verdict, text);
    d->words_wanted = verdict->detail[0] != '\0';
    (void)snprintf(d->words, sizeof d->words, "%s", verdict->detail);
    (void)snprintf(d->words_code, sizeof d->words_code, "%s",
                   verdict->code[0] ? verdict->code : "other");
    fail_run(d, REASON_ANSWER_UNEXPECTED, "%s%s", text,
             d->words_wanted ? ": its words are in the run's rejections" : "");
}

/* The request was sent, and what Klaviyo made of it did not come back. */
static bool may_be_a_job(const struct response *response)
{
    switch (response->transport) {
    case TRANSPORT_ANSWERED:
        break;
    case TRANSPORT_UNREACHABLE:
        return false;
    case TRANSPORT_TIMED_OUT:
    case TRANSPORT_BROKEN:
    case TRANSPORT_OVERSIZE:
        return true;
    }
    /* A job that cannot be read, or a gateway that had waited for one. */
    return response->status / 100 == 2 || response->status == 502 || response->status == 504 ||
           response->status == 524;
}

static bool act_on_verdict(struct delivery *d, struct pending_request *pending,
                           const struct response *response, struct verdict *verdict, int64_t now_ms,
                           struct error *err)
{
    switch (verdict->action) {
    case VERDICT_OK:
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_GONE:
        return useful_response(d, pending, response, verdict, now_ms, err);
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
        key_refused(d, pending, verdict, now_ms);
        return true;
    case VERDICT_THROTTLED:
        throttled(d, pending, verdict, now_ms);
        return true;
    case VERDICT_AGAIN:
        if (pending->endpoint == ENDPOINT_IMPORT && may_be_a_job(response))
            pending->import->unanswered = true;
        come_back_later(d, pending, verdict, verdict->retry_after_ms, now_ms);
        return true;
    case VERDICT_UNEXPECTED:
        break;
    }
    unexpected_response(d, verdict);
    return true;
}

/* Since when it is so: as before, or from now on; 0: it is not. */
static int64_t since(bool is_so, int64_t before_ms, int64_t now_ms)
{
    if (!is_so)
        return 0;
    return before_ms > 0 ? before_ms : now_ms;
}

/* The listing of jobs only saves requests: it says nothing of the others. */
static void note_availability(struct delivery *d, const struct pending_request *pending,
                              const struct verdict *verdict, int64_t now_ms)
{
    bool again = verdict->action == VERDICT_AGAIN;
    bool limited = verdict->action == VERDICT_THROTTLED;
    int64_t began_ms = is_quiet(d, now_ms) ? d->quiet_since_ms : now_ms;

    d->quiet_since_ms = now_ms;
    if (pending == &d->listing && verdict->action != VERDICT_OK)
        return;
    d->unavailable_since_ms = since(again, d->unavailable_since_ms, began_ms);
    d->limited_since_ms = since(limited, d->limited_since_ms, now_ms);
    if (!again && !limited)
        d->schedule.attempts = 0;
}

bool delivery_response(struct delivery *delivery, struct pending_request *pending,
                       const struct response *response, struct verdict *verdict, int64_t now_ms,
                       struct error *err)
{
    assert(pending->in_flight && delivery->blocked_ms == 0);
    note_availability(delivery, pending, verdict, now_ms);
    request_schedule_ended(&delivery->schedule, pending);
    pending->limited = false;
    if (pending == &delivery->listing && is_listing_useless(delivery, verdict->action)) {
        give_up_listing(delivery, verdict->status);
        return true;
    }
    return question_answered(delivery, pending, response, verdict) ||
           act_on_verdict(delivery, pending, response, verdict, now_ms, err);
}

/* ---- effects that a fact left ---- */

static bool next_of_imports(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    for (size_t i = 0; i < d->n_imports; i++) {
        batch_import_expire(d->imports[i], now_ms);
        if (d->imports[i]->wanted == EFFECT_NONE)
            continue;
        batch_import_effect(d->imports[i], effect);
        if (effect->kind == EFFECT_RESEND)
            (void)snprintf(d->trouble, sizeof d->trouble, "an import job %s", effect->why);
        return true;
    }
    return false;
}

static bool next_of_account(const struct delivery *d, struct effect *effect)
{
    if (d->blocked_ms > 0)
        *effect = (struct effect){ .kind = EFFECT_BLOCK_ACCOUNT,
                                   .endpoint = d->blocked,
                                   .wait_ms = d->blocked_ms,
                                   .throttled = d->blocked_by_limit };
    else if (d->list_name_wanted)
        *effect = (struct effect){ .kind = EFFECT_STORE_LIST_NAME, .list_name = d->list_name };
    else if (d->listing_status >= 0)
        *effect = (struct effect){ .kind = EFFECT_GIVE_UP_LISTING, .status = d->listing_status };
    else if (d->words_wanted)
        *effect =
            (struct effect){ .kind = EFFECT_KEEP_WORDS, .code = d->words_code, .detail = d->words };
    else if (d->reason != REASON_NONE)
        *effect = (struct effect){ .kind = EFFECT_FAIL,
                                   .reason = d->reason,
                                   .detail = d->detail,
                                   .key_refused = d->key_refused };
    else
        return false;
    return true;
}

/* ---- effects whose time has come ---- */

static bool may_fetch(const struct delivery *d, size_t posts)
{
    return d->more_planned && d->may_deliver && posts < DELIVERY_IMPORTS_MAX &&
           delivery_late_jobs(d) == 0;
}

/* As many planned batches become imports as may be in flight. */
static bool next_fetch(const struct delivery *d, struct effect *effect)
{
    *effect = (struct effect){ .kind = EFFECT_FETCH_PLANNED };
    for (size_t i = 0; i < d->n_imports; i++) {
        if (d->imports[i]->step != IMPORT_POST)
            continue;
        if (effect->n_held < DELIVERY_IMPORTS_MAX)
            effect->held[effect->n_held] = d->imports[i]->batch.batch_id;
        effect->n_held++;
    }
    effect->max = DELIVERY_IMPORTS_MAX - (int64_t)effect->n_held;
    return may_fetch(d, effect->n_held);
}

/* Now: while it is throttled or failed a moment ago, jobs are polled one by one. */
static bool listing_may_go(const struct delivery *d, int64_t now_ms)
{
    return !d->no_listing && now_ms >= d->listing.due_ms &&
           now_ms >= d->schedule.not_before_ms[ENDPOINT_JOBS];
}

/* Polls that the listing of jobs answers all at once. */
static size_t common_polls(const struct delivery *d, int64_t now_ms, bool *due)
{
    size_t n = 0;

    *due = false;
    for (size_t i = 0; i < d->n_imports && listing_may_go(d, now_ms); i++) {
        const struct batch_import *import = d->imports[i];

        if (import->step != IMPORT_POLL || import->poll_alone || import->request.in_flight)
            continue;
        n++;
        *due = *due || now_ms >= import->request.due_ms;
    }
    return n;
}

static void want_send(struct effect *effect, struct pending_request *pending,
                      const struct request *request)
{
    *effect = (struct effect){
        .kind = EFFECT_SEND, .pending = pending, .endpoint = pending->endpoint, .request = *request
    };
}

static bool next_send_of(struct delivery *d, struct batch_import *import, int64_t now_ms,
                         struct effect *effect)
{
    if (!request_schedule_may_start(&d->schedule, &import->request, now_ms) ||
        import->waits_for_list)
        return false;
    if (import->step == IMPORT_POST && delivery_posting(d) >= DELIVERY_IMPORTS_MAX)
        return false;
    if (import->step != IMPORT_POLL && !has_room_for(d, import))
        return false;
    if (import->step != IMPORT_POLL && !import->loaded) {
        *effect = (struct effect){ .kind = EFFECT_LOAD_BODY,
                                   .batch_id = import->batch.batch_id,
                                   .from = import->step,
                                   .to = import->step,
                                   .body = &import->body,
                                   .pending = &import->request };
        return true;
    }
    struct request request =
        batch_import_request(import, import->batch.names_list ? &d->tail : &d->plain_tail);
    want_send(effect, &import->request, &request);
    effect->batch_id = import->batch.batch_id;
    return true;
}

static bool next_question(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    struct pending_request *pending;
    struct request request;

    if (!questions_next(&d->questions, &d->schedule, d->options.list_id, now_ms, &pending,
                        &request))
        return false;
    want_send(effect, pending, &request);
    return true;
}

static bool next_send(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    bool polls_due;
    bool common = common_polls(d, now_ms, &polls_due) > 1 || d->listing.in_flight;

    if (d->list_state == LIST_WANTED && d->may_deliver &&
        request_schedule_may_start(&d->schedule, &d->list, now_ms)) {
        struct request request = klaviyo_list_request(d->options.list_id);
        want_send(effect, &d->list, &request);
        return true;
    }
    if (common && polls_due && request_schedule_may_start(&d->schedule, &d->listing, now_ms)) {
        struct request request = job_listing_request();
        want_send(effect, &d->listing, &request);
        return true;
    }
    for (size_t i = 0; i < d->n_imports; i++) {
        struct batch_import *import = d->imports[i];

        if ((import->step != IMPORT_POLL || import->poll_alone || !common) &&
            next_send_of(d, import, now_ms, effect))
            return true;
    }
    return false;
}

/* Nothing on its way, nothing to come. */
static bool imports_are_over(const struct delivery *d)
{
    return d->n_imports == 0 && !d->more_planned && !d->list.in_flight && d->plan_done &&
           !questions_in_flight(&d->questions);
}

/* Who left is taken off last. */
static bool next_end(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    if (!imports_are_over(d))
        return false;
    if (removal_next(&d->removal, &d->schedule, now_ms, effect))
        return true;
    *effect = (struct effect){
        .kind = EFFECT_DONE,
        .reason = d->removal.withheld ? REASON_REMOVALS_WITHHELD : REASON_NONE,
        .detail = d->removal.withheld ? d->removal.detail : NULL,
    };
    return removal_is_over(&d->removal);
}

bool delivery_next(struct delivery *delivery, int64_t now_ms, struct effect *effect)
{
    return next_of_imports(delivery, now_ms, effect) || next_of_account(delivery, effect) ||
           next_question(delivery, now_ms, effect) || next_fetch(delivery, effect) ||
           next_send(delivery, now_ms, effect) || next_end(delivery, now_ms, effect);
}

/* ---- what became of an effect ---- */

static struct batch_import *import_of(const struct delivery *d, int64_t batch_id)
{
    for (size_t i = 0; i < d->n_imports; i++)
        if (d->imports[i]->batch.batch_id == batch_id)
            return d->imports[i];
    assert(false && "an effect concerns a batch that is on its way");
    abort();
}

static void count_performed(struct delivery *d, const struct effect *effect)
{
    if (effect->kind == EFFECT_CONFIRM) {
        int64_t failed = effect->failures ? import_failures_count(effect->failures) : 0;

        d->counts.accepted += effect->n_rows - failed;
        d->counts.progress++;
    } else if (effect->kind == EFFECT_SPLIT) {
        d->counts.progress += batch_split_kept(effect->split) < effect->split->n_rows;
        d->more_planned = true;
    }
}

static void import_performed(struct delivery *d, const struct effect *effect, int64_t now_ms)
{
    struct import_context context = context_of(d, now_ms);

    count_performed(d, effect);
    batch_import_performed(import_of(d, effect->batch_id), &context);
    drop_finished(d);
}

static bool batches_fetched(struct delivery *d, const struct effect *effect,
                            struct effect_result *result, struct error *err)
{
    struct outbox_batch *batches = result->batches;

    result->batches = NULL;
    d->more_planned = (int64_t)result->n_batches == effect->max;
    return add_imports(d, batches, result->n_batches, err);
}

static void send_performed(struct delivery *d, const struct effect *effect,
                           const struct effect_result *result, int64_t now_ms)
{
    struct pending_request *pending = effect->pending;

    if (question_left(d, pending, result->sent))
        return;
    switch (result->sent) {
    case EFFECT_SENT:
        if (d->schedule.n_in_flight == 0)
            d->quiet_since_ms = now_ms;
        request_schedule_started(&d->schedule, pending, now_ms);
        d->counts.requests++;
        return;
    case EFFECT_NO_PERMIT:
        (void)snprintf(d->limit, sizeof d->limit, "the rate limit of %s is used up",
                       endpoint_name(pending->endpoint));
        request_schedule_close(&d->schedule, pending->endpoint, now_ms + result->wait_ms);
        return;
    case EFFECT_NOT_ALLOWED: /* until the lease is renewed */
        d->schedule.imports_until_ms = now_ms;
        return;
    case EFFECT_NOT_STARTED:
        (void)snprintf(d->trouble, sizeof d->trouble, "%.200s", result->why);
        request_schedule_again(&d->schedule, pending, now_ms, 0);
        return;
    }
}

/* What was to be told or stored once. */
static void want_no_more(struct delivery *d, enum effect_kind kind)
{
    if (kind == EFFECT_BLOCK_ACCOUNT)
        d->blocked_ms = 0;
    else if (kind == EFFECT_STORE_LIST_NAME)
        d->list_name_wanted = false;
    else if (kind == EFFECT_GIVE_UP_LISTING)
        d->listing_status = -1;
    else
        d->words_wanted = false;
}

bool delivery_performed(struct delivery *delivery, const struct effect *effect,
                        struct effect_result *result, int64_t now_ms, struct error *err)
{
    switch (effect->kind) {
    case EFFECT_MARK_SENT:
    case EFFECT_RESEND:
    case EFFECT_SETTLE_LATE_JOB:
    case EFFECT_LEAVE_LATE_JOB:
    case EFFECT_CONFIRM:
    case EFFECT_SPLIT:
        import_performed(delivery, effect, now_ms);
        return true;
    case EFFECT_BLOCK_ACCOUNT:
    case EFFECT_STORE_LIST_NAME:
    case EFFECT_GIVE_UP_LISTING:
    case EFFECT_KEEP_WORDS:
        want_no_more(delivery, effect->kind);
        return true;
    case EFFECT_FETCH_PLANNED:
        return batches_fetched(delivery, effect, result, err);
    case EFFECT_LOAD_BODY:
        return batch_import_loaded(effect->pending->import, err);
    case EFFECT_CLAIM_LIST:
    case EFFECT_RELEASE_HELD:
    case EFFECT_FETCH_LEAVERS:
    case EFFECT_FORGET_LEAVERS:
        delivery->counts.progress += effect->kind != EFFECT_CLAIM_LIST;
        return removal_performed(&delivery->removal, effect, result, now_ms, err);
    case EFFECT_SEND:
        send_performed(delivery, effect, result, now_ms);
        return true;
    case EFFECT_NONE:
    case EFFECT_FAIL:
    case EFFECT_DONE:
        break;
    }
    assert(false && "such an effect is not performed");
    abort();
}

/* ---- how it stands ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Nothing of the import is due: a response or a longer lease must come first. */
static bool waits_for_fact(const struct delivery *d, const struct batch_import *import,
                           int64_t now_ms)
{
    switch (import->step) {
    case IMPORT_POST:
        return import->waits_for_list || now_ms >= d->schedule.imports_until_ms ||
               delivery_posting(d) >= DELIVERY_IMPORTS_MAX || !has_room_for(d, import);
    case IMPORT_POLL:
        return !import->poll_alone && d->listing.in_flight;
    case IMPORT_ERRORS:
        return !has_room_for(d, import);
    case IMPORT_OVER:
        break;
    }
    return true;
}

int64_t delivery_due_ms(const struct delivery *delivery, int64_t now_ms)
{
    int64_t due = REQUEST_SCHEDULE_NEVER;

    if (delivery->schedule.draining)
        return due;
    due = questions_due_ms(&delivery->questions, &delivery->schedule);
    if (delivery->list_state == LIST_WANTED && delivery->may_deliver)
        due = earlier(due, request_schedule_due_ms(&delivery->schedule, &delivery->list));
    for (size_t i = 0; i < delivery->n_imports; i++)
        if (!waits_for_fact(delivery, delivery->imports[i], now_ms))
            due = earlier(
                due, request_schedule_due_ms(&delivery->schedule, &delivery->imports[i]->request));
    if (imports_are_over(delivery))
        due = earlier(due, removal_due_ms(&delivery->removal, &delivery->schedule, now_ms));
    return due;
}

/* When it can go on, where nothing but time is waited for; 0: not known. */
static int64_t until_ms(const struct delivery *d, int64_t now_ms)
{
    int64_t due = delivery_due_ms(d, now_ms);

    return d->schedule.n_in_flight == 0 && due < REQUEST_SCHEDULE_NEVER && due > now_ms ? due : 0;
}

/* The request that is due next is made again because of a limit. */
static bool next_is_limited(const struct delivery *d, int64_t due_ms)
{
    for (size_t i = 0; i < d->n_imports; i++) {
        const struct pending_request *request = &d->imports[i]->request;

        if (request->limited && request_schedule_due_ms(&d->schedule, request) == due_ms)
            return true;
    }
    return (d->list.limited && request_schedule_due_ms(&d->schedule, &d->list) == due_ms) ||
           removal_is_limited(&d->removal, &d->schedule, due_ms);
}

int64_t delivery_waiting_ms(const struct delivery *delivery, int64_t now_ms)
{
    int64_t waiting_ms = request_schedule_waiting_ms(&delivery->schedule, now_ms);
    int64_t until = until_ms(delivery, now_ms);

    if (delivery->removal.list_busy)
        return delivery->removal.claim_due_ms > now_ms ? delivery->removal.claim_due_ms - now_ms
                                                       : 1;

    if (until - now_ms > waiting_ms && until - now_ms > REQUEST_SCHEDULE_WAITING_MIN_MS &&
        next_is_limited(delivery, until))
        return until - now_ms;
    return waiting_ms;
}

enum run_reason wait_reason(enum wait_kind kind)
{
    switch (kind) {
    case WAIT_NONE:
        return REASON_NONE;
    case WAIT_RATE_LIMITED:
        return REASON_RATE_LIMITED;
    case WAIT_DATABASE_UNAVAILABLE:
        return REASON_DATABASE_UNAVAILABLE;
    case WAIT_LIST_IN_USE:
        return REASON_LIST_IN_USE;
    case WAIT_KLAVIYO_UNAVAILABLE:
        break;
    }
    return REASON_KLAVIYO_UNAVAILABLE;
}

static struct delivery_wait unavailable_wait(const struct delivery *d, int64_t now_ms)
{
    bool failed = d->unavailable_since_ms > 0;

    return (struct delivery_wait){
        .kind = WAIT_KLAVIYO_UNAVAILABLE,
        .since_ms = failed ? d->unavailable_since_ms : d->quiet_since_ms,
        .until_ms = until_ms(d, now_ms),
        .why = failed ? d->trouble : "Klaviyo does not answer",
    };
}

static struct delivery_wait limited_wait(const struct delivery *d, int64_t now_ms)
{
    int64_t limited_ms = delivery_waiting_ms(d, now_ms);

    return (struct delivery_wait){
        .kind = WAIT_RATE_LIMITED,
        .since_ms = d->limited_since_ms > 0 ? d->limited_since_ms : now_ms,
        .until_ms = limited_ms > 0 ? now_ms + limited_ms : until_ms(d, now_ms),
        .why = d->limit[0] ? d->limit : d->trouble,
    };
}

/* For how long nothing has come but that; 0: something else has. */
static int64_t in_vain_ms(int64_t since_ms, int64_t now_ms)
{
    return since_ms > 0 ? now_ms - since_ms : 0;
}

struct delivery_wait delivery_wait(const struct delivery *delivery, int64_t now_ms)
{
    if (in_vain_ms(delivery->unavailable_since_ms, now_ms) >= IN_VAIN_MS ||
        is_quiet(delivery, now_ms))
        return unavailable_wait(delivery, now_ms);
    if (delivery->removal.list_busy)
        return (struct delivery_wait){ .kind = WAIT_LIST_IN_USE,
                                       .since_ms = delivery->removal.busy_since_ms,
                                       .until_ms = delivery->removal.claim_due_ms,
                                       .why = "another run is sending to the same list" };
    if (delivery_waiting_ms(delivery, now_ms) > 0 ||
        in_vain_ms(delivery->limited_since_ms, now_ms) >= IN_VAIN_MS)
        return limited_wait(delivery, now_ms);
    return (struct delivery_wait){ .kind = WAIT_NONE };
}

static unsigned most_attempts(const struct delivery *d)
{
    unsigned most = d->list.attempts > removal_attempts(&d->removal)
                        ? d->list.attempts
                        : removal_attempts(&d->removal);

    for (size_t i = 0; i < d->n_imports; i++)
        if (d->imports[i]->request.attempts > most)
            most = d->imports[i]->request.attempts;
    return most > d->schedule.attempts ? most : d->schedule.attempts;
}

int64_t delivery_park_ms(const struct delivery *delivery, int64_t now_ms, unsigned *attempts)
{
    int64_t due = delivery_due_ms(delivery, now_ms);
    bool long_in_vain = in_vain_ms(delivery->unavailable_since_ms, now_ms) >= PARK_MIN_MS ||
                        in_vain_ms(delivery->limited_since_ms, now_ms) >= PARK_MIN_MS;

    if (delivery->schedule.n_in_flight > 0 || delivery->schedule.draining ||
        due == REQUEST_SCHEDULE_NEVER ||
        due - now_ms < (long_in_vain ? PARK_IN_VAIN_MS : PARK_MIN_MS) ||
        delivery_wait(delivery, now_ms).kind == WAIT_NONE)
        return 0;
    *attempts = most_attempts(delivery);
    return due - now_ms;
}

struct delivery_counts delivery_counts(const struct delivery *delivery)
{
    struct delivery_counts counts = delivery->counts;

    counts.retries = delivery->schedule.retries;
    return counts;
}

const char *effect_name(enum effect_kind kind)
{
    static const char *const names[] = {
        [EFFECT_NONE] = "none",
        [EFFECT_MARK_SENT] = "mark_sent",
        [EFFECT_RESEND] = "resend",
        [EFFECT_SETTLE_LATE_JOB] = "settle_late_job",
        [EFFECT_LEAVE_LATE_JOB] = "leave_late_job",
        [EFFECT_CONFIRM] = "confirm",
        [EFFECT_SPLIT] = "split",
        [EFFECT_BLOCK_ACCOUNT] = "block",
        [EFFECT_STORE_LIST_NAME] = "list_name",
        [EFFECT_GIVE_UP_LISTING] = "no_listing",
        [EFFECT_KEEP_WORDS] = "keep_words",
        [EFFECT_FETCH_PLANNED] = "fetch",
        [EFFECT_LOAD_BODY] = "load",
        [EFFECT_CLAIM_LIST] = "claim",
        [EFFECT_RELEASE_HELD] = "release",
        [EFFECT_FETCH_LEAVERS] = "leavers",
        [EFFECT_FORGET_LEAVERS] = "forget",
        [EFFECT_SEND] = "send",
        [EFFECT_FAIL] = "fail",
        [EFFECT_DONE] = "done",
    };

    return names[kind];
}
