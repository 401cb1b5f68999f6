#include "worker/export/delivery.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "worker/klaviyo/detail_mask.h"
#include "worker/klaviyo/document.h"
#include "worker/klaviyo/import_body.h"
#include "worker/klaviyo/job_listing.h"

enum {
    TAIL_MAX_BYTES = 1024,
    FAILURE_MAX_BYTES = 1024, /* of a failed run's detail that holds words of Klaviyo */
    HUNG_PAUSE_MS = 3000,     /* chosen: what was begun with it has ended by then, too */
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
        .list = { .kind = PENDING_LIST, .endpoint = ENDPOINT_LIST },
        .list_state = options->list_known ? LIST_UNASKED : LIST_WANTED,
    };
    questions_init(&delivery->questions);
    job_polls_init(&delivery->polls, &options->rules);
    availability_init(&delivery->availability, options->unavailable, options->limited,
                      options->trouble, options->now_ms);
    removal_init(&delivery->removal, options->list_id, options->list_was_busy);
    import_body_add_tail(&delivery->tail, options->list_id);
    import_body_add_tail(&delivery->plain_tail, NULL);
    return (strbuf_ok(&delivery->tail) && strbuf_ok(&delivery->plain_tail)) || error_no_memory(err);
}

void delivery_release(struct delivery *delivery)
{
    import_set_release(&delivery->imports);
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

bool delivery_adopt(struct delivery *delivery, struct outbox_batches *batches, int64_t now_ms,
                    struct error *err)
{
    struct import_context context = context_of(delivery, now_ms);

    if (!import_set_take_batches(&delivery->imports, batches, err))
        return false;
    import_set_watch(&delivery->imports, &context);
    return true;
}

bool delivery_adopt_late_jobs(struct delivery *delivery, struct late_jobs *jobs, int64_t now_ms,
                              struct error *err)
{
    struct import_context context = context_of(delivery, now_ms);

    return import_set_take_late_jobs(&delivery->imports, jobs, &context, err);
}

size_t delivery_late_jobs(const struct delivery *delivery)
{
    return import_set_late_jobs(&delivery->imports);
}

size_t delivery_posting(const struct delivery *delivery)
{
    return import_set_posting(&delivery->imports);
}

size_t delivery_request_rows(const struct pending_request *pending)
{
    return pending->endpoint == ENDPOINT_IMPORT ? (size_t)pending->import->batch.rows : 0;
}

/* ---- facts ---- */

static void count_progress(struct delivery *d, bool made)
{
    if (!made)
        return;
    d->counts.progress++;
    availability_progress(&d->availability);
}

void delivery_plan(struct delivery *delivery, const struct delivery_plan_news *news)
{
    delivery->more_planned |= news->more;
    count_progress(delivery, news->more);
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

/* ---- the list ---- */

static void list_is_there(struct delivery *d, const struct klaviyo_list *list)
{
    d->list_state = LIST_THERE;
    removal_list_is_there(&d->removal);
    for (size_t i = 0; i < d->imports.n; i++)
        d->imports.import[i]->waits_for_list = false;
    if (d->options.list_known)
        return;
    (void)snprintf(d->list_name, sizeof d->list_name, "%s", list->name);
    d->list_name_wanted = true;
}

static void list_response(struct delivery *d, const struct delivery_reply *reply)
{
    struct klaviyo_list list;
    struct error malformed = ERROR_INIT;

    if (reply->verdict->action == VERDICT_GONE)
        fail_run(d, REASON_LIST_GONE,
                 "Klaviyo has no list %s (any more): make one and name it with export update",
                 d->options.list_id);
    else if (klaviyo_list_parse(reply->response, &list, &malformed))
        list_is_there(d, &list);
    else
        request_schedule_unread(&d->schedule, &d->list, reply->now_ms, &malformed);
}

/* ---- the guards' questions ---- */

/* Whether that was all; else it is a response like any other. */
static bool question_answered(struct delivery *d, const struct delivery_reply *reply)
{
    if (!questions_response(&d->questions, reply))
        return false;
    if (reply->verdict->action == VERDICT_OK)
        request_schedule_key_accepted(&d->schedule, reply->pending);
    return true;
}

/* It only warns, and may not be sent now: it is dropped. */
static bool question_left(struct delivery *d, const struct pending_request *pending,
                          enum effect_sent sent)
{
    return sent != EFFECT_SENT && pending->kind == PENDING_QUESTION &&
           questions_leave(&d->questions, pending);
}

/* ---- responses ---- */

static void come_back_unread(struct delivery *d, const struct delivery_reply *reply,
                             const char *what)
{
    struct error why = ERROR_INIT;

    (void)document_refuse(reply->response, what, &why);
    request_schedule_unread(&d->schedule, reply->pending, reply->now_ms, &why);
}

/* The list is asked for once a run, before rows are suspected. */
static bool import_response(struct delivery *d, const struct delivery_reply *reply,
                            struct error *err)
{
    struct import_context context = context_of(d, reply->now_ms);
    struct batch_import *import = reply->pending->import;
    const struct verdict *verdict = reply->verdict;

    if (verdict->action == VERDICT_BATCH_REFUSED && d->list_state != LIST_THERE) {
        d->list_state = LIST_WANTED;
        import->waits_for_list = true;
        return true;
    }
    if (verdict->action == VERDICT_ACCEPTED && import_set_has_job(&d->imports, verdict->job.id)) {
        come_back_unread(d, reply, "it is the job of another batch");
        return true;
    }
    return batch_import_response(import, &context, reply->response, reply->verdict, err);
}

static bool response_of_removal(struct delivery *d, const struct delivery_reply *reply,
                                struct error *err)
{
    if (!removal_response(&d->removal, &d->schedule, reply, err))
        return false;
    if (removal_wants_list(&d->removal))
        d->list_state = LIST_WANTED;
    return true;
}

static bool useful_response(struct delivery *d, const struct delivery_reply *reply,
                            struct error *err)
{
    struct import_context context = context_of(d, reply->now_ms);

    request_schedule_key_accepted(&d->schedule, reply->pending);
    switch (reply->pending->kind) {
    case PENDING_IMPORT:
        return import_response(d, reply, err);
    case PENDING_LIST:
        list_response(d, reply);
        return true;
    case PENDING_JOB_LISTING:
        job_polls_response(&d->polls, &d->imports, &context, reply->response);
        return true;
    case PENDING_QUESTION:
        come_back_unread(d, reply, "it does not say what was asked");
        return true;
    case PENDING_LOOKUP:
    case PENDING_REMOVAL:
        return response_of_removal(d, reply, err);
    }
    assert(false && "each request is of a kind");
    abort();
}

/* Once more after a while; the second time the key is refused. */
static void key_refused(struct delivery *d, const struct delivery_reply *reply)
{
    char text[VERDICT_TEXT_BYTES];

    if (!request_schedule_key_refused(&d->schedule, reply->pending, reply->now_ms))
        return;
    verdict_text(reply->verdict, text);
    d->key_refused = true;
    fail_run(d, REASON_KEY_REFUSED,
             "%s, twice: give connection %s a new key with connection rotate-key", text,
             d->options.connection_name);
}

/*
 * All workers of the account wait until Klaviyo said to come back, whether or not
 * the request is made again.
 */
static void heed_wait(struct delivery *d, const struct delivery_reply *reply)
{
    bool is_limit = reply->verdict->action == VERDICT_THROTTLED;
    int64_t wait_ms = verdict_wait_ms(reply->verdict);

    d->counts.throttled += is_limit;
    if (wait_ms == 0)
        return;
    request_schedule_close(&d->schedule, reply->pending->endpoint, reply->now_ms + wait_ms);
    d->blocked = reply->pending->endpoint;
    d->blocked_ms = wait_ms;
    d->blocked_by_limit = is_limit;
}

/* The listing of jobs only saves requests, and a name is only shown. */
static bool is_dispensable(const struct delivery *d, const struct pending_request *pending)
{
    return pending->kind == PENDING_JOB_LISTING ||
           (pending->kind == PENDING_LIST && !delivery_needs_list(d));
}

/* What the run waits for, if it does: in words, never of a request that it does not need. */
static void note_trouble(struct delivery *d, const struct pending_request *pending,
                         const struct verdict *verdict)
{
    if (is_dispensable(d, pending))
        return;
    verdict_text(verdict, verdict->action == VERDICT_THROTTLED ? d->availability.limit
                                                               : d->availability.trouble);
}

static void come_back_later(struct delivery *d, const struct delivery_reply *reply)
{
    bool hung = availability_is_slow(reply->pending->started_ms, reply->now_ms);
    int64_t wait_ms = verdict_wait_ms(reply->verdict);

    note_trouble(d, reply->pending, reply->verdict);
    request_schedule_again(&d->schedule, reply->pending, reply->now_ms,
                           hung && wait_ms < HUNG_PAUSE_MS ? HUNG_PAUSE_MS : wait_ms);
}

static void throttled(struct delivery *d, const struct delivery_reply *reply)
{
    reply->pending->limited = true;
    come_back_later(d, reply);
}

/* False: what the request was about is not at hand, so that nobody can tell what is a value. */
static bool find_objects(const struct pending_request *pending, struct bytes *objects)
{
    *objects = BYTES_NONE;
    switch (pending->kind) {
    case PENDING_IMPORT:
        *objects = (struct bytes){ pending->import->body.data, pending->import->body.len };
        return pending->import->loaded;
    case PENDING_LIST:
    case PENDING_JOB_LISTING:
    case PENDING_QUESTION:
        return true;
    case PENDING_LOOKUP:
    case PENDING_REMOVAL:
        break;
    }
    return false;
}

/* Appends Klaviyo's words to text: at most 1 KiB in all, for which out has room. */
static void tell_words(const struct pending_request *pending, const char *detail, const char *text,
                       char *out)
{
    static const char in_full[] = " (in full in the run's rejections)";
    size_t room = FAILURE_MAX_BYTES - strlen(text) - strlen(": ") - strlen(in_full);
    struct bytes objects;

    if (find_objects(pending, &objects)) {
        bool whole = detail_mask(out, room + 1, detail, objects.at, objects.n);
        if (*out && strcmp(out, DETAIL_MASK_MARK) != 0) {
            (void)snprintf(out + strlen(out), sizeof in_full, "%s", whole ? "" : in_full);
            return;
        }
    }
    (void)snprintf(out, FAILURE_MAX_BYTES, "its words are in the run's rejections");
}

/* Its words may hold personal data: they are kept with the run's rejections. */
static void unexpected_response(struct delivery *d, const struct delivery_reply *reply)
{
    const struct verdict *verdict = reply->verdict;
    char text[VERDICT_TEXT_BYTES], words[FAILURE_MAX_BYTES];

    verdict_text(verdict, text);
    d->words_wanted = verdict->detail[0] != '\0';
    (void)snprintf(d->words, sizeof d->words, "%s", verdict->detail);
    (void)snprintf(d->words_code, sizeof d->words_code, "%s",
                   verdict->code[0] ? verdict->code : "other");
    if (d->words_wanted) {
        tell_words(reply->pending, verdict->detail, text, words);
        fail_run(d, REASON_ANSWER_UNEXPECTED, "%s: %s", text, words);
    } else {
        fail_run(d, REASON_ANSWER_UNEXPECTED, "%s", text);
    }
}

/*
 * What an earlier run left behind fails no other: Klaviyo keeps jobs for seven days, and what
 * it answers for older ones is not documented.
 */
static void heed_unexpected(struct delivery *d, const struct delivery_reply *reply)
{
    struct batch_import *import = reply->pending->import;

    if (import && import->late_job_id)
        import->wanted = EFFECT_LEAVE_LATE_JOB;
    else
        unexpected_response(d, reply);
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

/*
 * An import came to nothing: can there be a job of it all the same? response: NULL where it was
 * not sent, or what was refused was read.
 */
static void note_vain_import(struct pending_request *pending, const struct response *response)
{
    if (pending->endpoint != ENDPOINT_IMPORT)
        return;
    if (response && may_be_a_job(response))
        pending->import->unanswered = true;
    pending->import->refused = !pending->import->unanswered;
}

static bool act_on_verdict(struct delivery *d, const struct delivery_reply *reply,
                           struct error *err)
{
    switch (reply->verdict->action) {
    case VERDICT_OK:
    case VERDICT_ACCEPTED:
        return useful_response(d, reply, err);
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_GONE:
        note_vain_import(reply->pending, NULL);
        return useful_response(d, reply, err);
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
        note_vain_import(reply->pending, reply->response);
        key_refused(d, reply);
        return true;
    case VERDICT_THROTTLED:
        note_vain_import(reply->pending, reply->response);
        throttled(d, reply);
        return true;
    case VERDICT_AGAIN:
        note_vain_import(reply->pending, reply->response);
        come_back_later(d, reply);
        return true;
    case VERDICT_UNEXPECTED:
        note_vain_import(reply->pending, reply->response);
        break;
    }
    heed_unexpected(d, reply);
    return true;
}

bool delivery_needs_list(const struct delivery *delivery)
{
    if (removal_wants_list(&delivery->removal))
        return true;
    for (size_t i = 0; i < delivery->imports.n; i++)
        if (delivery->imports.import[i]->waits_for_list)
            return true;
    return false;
}

/* One that could not be read is one in vain: known once it was dealt with. */
static enum verdict_action note_unread(struct delivery *d, const struct delivery_reply *reply,
                                       bool dispensable)
{
    if (d->schedule.unread[0] == '\0')
        return reply->verdict->action;
    if (!dispensable)
        (void)snprintf(d->availability.trouble, sizeof d->availability.trouble, "%s",
                       d->schedule.unread);
    return VERDICT_AGAIN;
}

/* A failure of an optional request says nothing about the others. */
static void note_availability(struct delivery *d, const struct delivery_reply *reply,
                              bool dispensable)
{
    enum verdict_action action = note_unread(d, reply, dispensable);
    size_t n_in_flight = d->schedule.n_in_flight + 1;

    if (dispensable && action != VERDICT_OK)
        availability_heard(&d->availability, reply->now_ms);
    else if (availability_responded(&d->availability, action, n_in_flight, reply->now_ms))
        d->schedule.attempts = 0;
}

/* Whether it needs no verdict: what asked deals with all that may come. */
static bool is_dealt_with(struct delivery *d, const struct delivery_reply *reply)
{
    switch (reply->pending->kind) {
    case PENDING_JOB_LISTING:
        if (!job_polls_are_useless(&d->polls, reply->verdict->action))
            return false;
        job_polls_give_up(&d->polls, reply->verdict->status);
        return true;
    case PENDING_QUESTION:
        return question_answered(d, reply);
    case PENDING_IMPORT:
    case PENDING_LIST:
    case PENDING_LOOKUP:
    case PENDING_REMOVAL:
        break;
    }
    return false;
}

bool delivery_response(struct delivery *delivery, const struct delivery_reply *reply,
                       struct error *err)
{
    struct pending_request *pending = reply->pending;
    bool dispensable = is_dispensable(delivery, pending);

    assert(pending->in_flight && delivery->blocked_ms == 0);
    request_schedule_ended(&delivery->schedule, pending);
    heed_wait(delivery, reply);
    pending->limited = false;
    bool ok = is_dealt_with(delivery, reply) || act_on_verdict(delivery, reply, err);
    note_availability(delivery, reply, dispensable);
    return ok;
}

/* ---- effects that a fact left ---- */

static bool next_of_imports(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    for (size_t i = 0; i < d->imports.n; i++) {
        batch_import_expire(d->imports.import[i], now_ms);
        if (d->imports.import[i]->wanted == EFFECT_NONE)
            continue;
        batch_import_effect(d->imports.import[i], effect);
        if (effect->kind == EFFECT_RESEND)
            (void)snprintf(d->availability.trouble, sizeof d->availability.trouble,
                           "an import job %s", effect->why);
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
    else if (d->polls.untold_status >= 0)
        *effect =
            (struct effect){ .kind = EFFECT_GIVE_UP_LISTING, .status = d->polls.untold_status };
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
    for (size_t i = 0; i < d->imports.n; i++) {
        if (d->imports.import[i]->step != IMPORT_POST)
            continue;
        if (effect->n_held < DELIVERY_IMPORTS_MAX)
            effect->held[effect->n_held] = d->imports.import[i]->batch.batch_id;
        effect->n_held++;
    }
    effect->max = DELIVERY_IMPORTS_MAX - (int64_t)effect->n_held;
    return may_fetch(d, effect->n_held);
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
    if (import->step != IMPORT_POLL && !import_set_has_room_for(&d->imports, import))
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
    struct request request;
    struct pending_request *pending =
        questions_next(&d->questions, &d->schedule, d->options.list_id, now_ms, &request);

    if (!pending)
        return false;
    want_send(effect, pending, &request);
    return true;
}

static bool next_send(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    int64_t listing_ms;
    bool common = job_polls_are_common(&d->polls, &d->imports, &d->schedule, now_ms, &listing_ms);

    if (d->list_state == LIST_WANTED && d->may_deliver &&
        request_schedule_may_start(&d->schedule, &d->list, now_ms)) {
        struct request request = klaviyo_list_request(d->options.list_id);
        want_send(effect, &d->list, &request);
        return true;
    }
    if (common && now_ms >= listing_ms &&
        request_schedule_may_start(&d->schedule, &d->polls.listing, now_ms)) {
        struct request request = job_listing_request();
        want_send(effect, &d->polls.listing, &request);
        return true;
    }
    for (size_t i = 0; i < d->imports.n; i++) {
        struct batch_import *import = d->imports.import[i];

        if ((import->step != IMPORT_POLL || import->poll_alone || !common) &&
            next_send_of(d, import, now_ms, effect))
            return true;
    }
    return false;
}

bool delivery_imports_are_over(const struct delivery *delivery)
{
    return delivery->imports.n == 0 && !delivery->more_planned && !delivery->list.in_flight &&
           delivery->plan_done && !questions_in_flight(&delivery->questions);
}

/* Leavers are taken off last. */
static bool next_end(struct delivery *d, int64_t now_ms, struct effect *effect)
{
    if (!delivery_imports_are_over(d))
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

static void count_performed(struct delivery *d, const struct effect *effect)
{
    if (effect->kind == EFFECT_CONFIRM) {
        int64_t failed = effect->failures ? import_failures_count(effect->failures) : 0;

        d->counts.accepted += effect->n_rows - failed;
        count_progress(d, true);
    } else if (effect->kind == EFFECT_SPLIT) {
        count_progress(d, batch_split_kept(effect->split) < effect->split->n_rows);
        d->more_planned = true;
    }
}

static void import_performed(struct delivery *d, const struct effect *effect, int64_t now_ms)
{
    struct import_context context = context_of(d, now_ms);

    count_performed(d, effect);
    batch_import_performed(import_set_find(&d->imports, effect->batch_id), &context);
    import_set_drop_over(&d->imports);
}

static bool batches_fetched(struct delivery *d, const struct effect *effect,
                            struct effect_result *result, struct error *err)
{
    d->more_planned = (int64_t)result->batches.n == effect->max;
    return import_set_take_batches(&d->imports, &result->batches, err);
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
            availability_heard(&d->availability, now_ms);
        request_schedule_started(&d->schedule, pending, now_ms);
        if (pending->import)
            pending->import->refused = false;
        d->counts.requests++;
        return;
    case EFFECT_NO_PERMIT:
        (void)snprintf(d->availability.limit, sizeof d->availability.limit,
                       "the rate limit of %s is used up", endpoint_name(pending->endpoint));
        request_schedule_close(&d->schedule, pending->endpoint, now_ms + result->wait_ms);
        return;
    case EFFECT_NOT_ALLOWED: /* until the lease is renewed */
        note_vain_import(pending, NULL);
        d->schedule.imports_until_ms = now_ms;
        return;
    case EFFECT_NOT_STARTED:
        (void)snprintf(d->availability.trouble, sizeof d->availability.trouble, "%.200s",
                       result->why);
        note_vain_import(pending, NULL);
        request_schedule_again(&d->schedule, pending, now_ms, 0);
        return;
    }
}

/* What was to be reported or stored once. */
static void want_no_more(struct delivery *d, enum effect_kind kind)
{
    switch (kind) {
    case EFFECT_BLOCK_ACCOUNT:
        d->blocked_ms = 0;
        return;
    case EFFECT_STORE_LIST_NAME:
        d->list_name_wanted = false;
        return;
    case EFFECT_GIVE_UP_LISTING:
        d->polls.untold_status = -1;
        return;
    case EFFECT_KEEP_WORDS:
        d->words_wanted = false;
        return;
    case EFFECT_MARK_SENT:
    case EFFECT_RESEND:
    case EFFECT_SETTLE_LATE_JOB:
    case EFFECT_LEAVE_LATE_JOB:
    case EFFECT_CONFIRM:
    case EFFECT_SPLIT:
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
    assert(false && "such an effect is not wanted once");
    abort();
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
        count_progress(delivery, effect->kind != EFFECT_CLAIM_LIST);
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

/* ---- its state ---- */

struct delivery_counts delivery_counts(const struct delivery *delivery)
{
    struct delivery_counts counts = delivery->counts;

    counts.retries = delivery->schedule.retries;
    return counts;
}
