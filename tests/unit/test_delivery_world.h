#ifndef TEST_DELIVERY_WORLD_H
#define TEST_DELIVERY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/export/delivery.h"
#include "worker/export/delivery_wait.h"

/*
 * The world around a delivery, for its tests: an outbox, a Klaviyo, a clock that
 * stands. Effects are written into a diary. It also holds the naive model: what
 * has become of each row, which jobs have ended.
 */
enum {
    WORLD_BATCHES_MAX = 256,
    WORLD_ROWS_MAX = 1024,
    WORLD_DIARY_BYTES = 8192,
    WORLD_BODY_BYTES = 4096,
};

enum world_state { WORLD_PLANNED, WORLD_SENT, WORLD_OVER };

struct world_batch {
    int first, n; /* rows */
    enum world_state state;
    bool posting;
    bool posted;  /* by an earlier owner of the run */
    char job[16]; /* empty: none */
    bool job_ended;
    bool uncounted; /* it does not say how many failed: it may be asked again */
};

enum world_row { ROW_OPEN, ROW_CONFIRMED, ROW_REJECTED, ROW_LEFT };

struct world {
    struct delivery delivery;
    int64_t now_ms;
    struct world_batch batches[WORLD_BATCHES_MAX + 1]; /* by id, from 1 */
    int n_batches;
    int row_of[WORLD_ROWS_MAX * 16]; /* position in a batch -> row; parts are appended */
    int n_positions;
    enum world_row rows[WORLD_ROWS_MAX];
    int n_rows, n_unnamed;
    int n_jobs;
    struct pending_request *in_flight[64];
    size_t n_in_flight;
    bool no_permit; /* for the next request */
    int64_t bytes_per_row;
    bool more_planned, plan_done;
    bool undecided;                 /* the guards have not judged yet */
    struct removal_figures figures; /* with the end of the plan */
    bool list_busy;                 /* of the next claim: once */
    bool over;
    bool keeps_diary;
    struct strbuf diary;
};

static uint32_t world_random(void)
{
    return UINT32_MAX; /* every pause has its full length */
}

PRINTF_LIKE(2, 3) static void world_note(struct world *w, const char *fmt, ...)
{
    char text[256];
    va_list args;

    if (!w->keeps_diary)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    strbuf_addf(&w->diary, "%s%s", w->diary.len ? " " : "", text);
    assert_true(strbuf_ok(&w->diary));
}

static void world_init(struct world *w, bool list_known)
{
    struct error err = ERROR_INIT;
    struct delivery_options options = {
        .list_id = "L1",
        .list_known = list_known,
        .export_name = "news",
        .connection_name = "shop",
        .rules = { .poll_interval_min_ms = 1000,
                   .poll_interval_max_ms = 15000,
                   .job_budget_ms = 450000 },
        .random = world_random,
    };

    memset(w, 0, sizeof *w);
    w->now_ms = 1000000;
    w->bytes_per_row = 100;
    w->keeps_diary = true;
    w->diary = STRBUF_INIT(WORLD_DIARY_BYTES);
    assert_true(delivery_init(&w->delivery, &options, &err));
}

static void world_release(struct world *w)
{
    delivery_release(&w->delivery);
    strbuf_release(&w->diary);
}

static int world_add_batch(struct world *w, int n)
{
    struct world_batch *b = &w->batches[++w->n_batches];

    assert_true(w->n_batches <= WORLD_BATCHES_MAX);
    *b = (struct world_batch){ .first = w->n_positions, .n = n };
    return w->n_batches;
}

static void world_plan(struct world *w, int n_rows)
{
    (void)world_add_batch(w, n_rows);
    for (int i = 0; i < n_rows; i++)
        w->row_of[w->n_positions++] = w->n_rows++;
    w->more_planned = true;
}

static int world_row_at(const struct world *w, int64_t batch, size_t position)
{
    return w->row_of[w->batches[batch].first + (int)position];
}

static void world_end_row(struct world *w, int row, enum world_row as)
{
    assert_int_equal(w->rows[row], ROW_OPEN);
    w->rows[row] = as;
}

/* ---- performing ---- */

static void world_fetch(struct world *w, const struct effect *e, struct effect_result *r)
{
    assert_int_equal(delivery_late_jobs(&w->delivery), 0);
    r->batches.items = calloc((size_t)e->max + 1, sizeof *r->batches.items);
    assert_non_null(r->batches.items);
    for (int id = 1; id <= w->n_batches && (int64_t)r->batches.n < e->max; id++) {
        bool held = w->batches[id].state != WORLD_PLANNED;

        for (size_t i = 0; i < e->n_held; i++)
            held = held || e->held[i] == id;
        if (!held)
            r->batches.items[r->batches.n++] =
                (struct outbox_batch){ .batch_id = id,
                                       .rows = w->batches[id].n,
                                       .bytes = w->bytes_per_row * w->batches[id].n,
                                       .posted = w->batches[id].posted };
    }
    world_note(w, "fetch");
}

static void world_load(const struct world *w, const struct effect *e)
{
    for (int i = 0; i < w->batches[e->batch_id].n; i++)
        strbuf_addf(e->body,
                    "%s{\"type\":\"profile\",\"attributes\":{\"email\":\"r%04d@x.example\"}}",
                    i ? ",\n" : "", world_row_at(w, e->batch_id, (size_t)i));
}

static void world_check_request(struct world *w, const struct effect *e)
{
    if (e->batch_id < 0) { /* a late job */
        assert_int_equal(e->endpoint, ENDPOINT_JOB);
        return;
    }
    struct world_batch *b = &w->batches[e->batch_id];

    if (e->endpoint == ENDPOINT_IMPORT) {
        assert_false(b->posting);
        assert_int_equal(b->state, WORLD_PLANNED);
        b->posting = true;
    } else if (e->endpoint == ENDPOINT_JOB) {
        assert_true(!b->job_ended || b->uncounted);
        assert_string_equal(e->request.id, b->job);
    } else if (e->endpoint == ENDPOINT_IMPORT_ERRORS) {
        assert_true(b->job_ended);
        assert_string_equal(e->request.id, b->job);
    }
}

static const char *world_name(enum endpoint endpoint)
{
    return endpoint == ENDPOINT_IMPORT_ERRORS ? "errors" : endpoint_name(endpoint);
}

static void world_send(struct world *w, const struct effect *e, struct effect_result *r)
{
    if (w->no_permit) {
        w->no_permit = false;
        r->sent = EFFECT_NO_PERMIT;
        r->wait_ms = 700;
        world_note(w, "no-permit:%s", world_name(e->endpoint));
        return;
    }
    world_check_request(w, e);
    assert_true(w->n_in_flight < 64);
    w->in_flight[w->n_in_flight++] = e->pending;
    r->sent = EFFECT_SENT;
    if (e->pending->import)
        world_note(w, "send:%s:%d", world_name(e->endpoint), (int)e->batch_id);
    else
        world_note(w, "send:%s", world_name(e->endpoint));
}

static void world_mark_sent(struct world *w, const struct effect *e)
{
    struct world_batch *b = &w->batches[e->batch_id];

    assert_int_equal(b->state, WORLD_PLANNED);
    b->state = WORLD_SENT;
    b->job_ended = b->uncounted = false;
    (void)snprintf(b->job, sizeof b->job, "%s", e->job_id);
    world_note(w, "sent:%d%s", (int)e->batch_id, e->unanswered ? "?" : "");
}

static void world_resend(struct world *w, const struct effect *e)
{
    assert_int_equal(w->batches[e->batch_id].state, WORLD_SENT);
    w->batches[e->batch_id].state = WORLD_PLANNED;
    world_note(w, "resend:%d%s", (int)e->batch_id, e->job_id ? "?" : "");
}

/* confirm:BATCH(accepted-named-unidentified?) */
static void world_note_confirmed(struct world *w, int batch, int named, int unidentified)
{
    char numbers[64];
    int n = snprintf(numbers, sizeof numbers, "%d", w->batches[batch].n - named - unidentified);

    if (named > 0)
        n += snprintf(numbers + n, sizeof numbers - (size_t)n, "-%d", named);
    if (unidentified > 0)
        (void)snprintf(numbers + n, sizeof numbers - (size_t)n, "-%d?", unidentified);
    world_note(w, "confirm:%d(%s)", batch, numbers);
}

static void world_confirm(struct world *w, const struct effect *e)
{
    struct world_batch *b = &w->batches[e->batch_id];
    bool rejected[WORLD_ROWS_MAX] = { false };
    int named = e->failures ? (int)e->failures->n : 0;
    int unidentified = e->failures ? (int)e->failures->n_unidentified : 0;

    assert_int_equal(b->state, WORLD_SENT);
    assert_true(named + unidentified <= b->n);
    for (int i = 0; i < named; i++)
        rejected[e->failures->failed[i].row] = true;
    for (int i = 0; i < b->n; i++)
        world_end_row(w, world_row_at(w, e->batch_id, (size_t)i),
                      rejected[i]        ? ROW_REJECTED
                      : unidentified > 0 ? ROW_LEFT
                                         : ROW_CONFIRMED);
    b->state = WORLD_OVER;
    w->n_unnamed += unidentified;
    world_note_confirmed(w, (int)e->batch_id, named, unidentified);
}

static void world_split(struct world *w, const struct effect *e)
{
    struct world_batch *b = &w->batches[e->batch_id];
    size_t next = 0;
    int part_of[WORLD_ROWS_MAX] = { 0 }, n[3] = { 0 };

    assert_int_equal(b->state, WORLD_PLANNED);
    assert_int_equal(e->rows->n, b->n);
    for (int i = 0; i < b->n; i++) {
        part_of[i] = batch_split_row(e->split, (size_t)i, &next).part;
        n[part_of[i]]++;
        if (part_of[i] == 0)
            world_end_row(w, world_row_at(w, e->batch_id, (size_t)i), ROW_REJECTED);
    }
    for (int part = 1; part <= 2; part++) {
        if (n[part] == 0)
            continue;
        (void)world_add_batch(w, n[part]);
        for (int i = 0; i < b->n; i++)
            if (part_of[i] == part)
                w->row_of[w->n_positions++] = world_row_at(w, e->batch_id, (size_t)i);
    }
    assert_true(n[0] > 0 || n[2] > 0); /* each round removes a row or halves */
    b->state = WORLD_OVER;
    world_note(w, "split:%d(%d,%d,%d)", (int)e->batch_id, n[1], n[2], n[0]);
}

/* NOLINTNEXTLINE(readability-function-size): one case for each effect */
static void world_perform(struct world *w, struct effect *e)
{
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    switch (e->kind) {
    case EFFECT_MARK_SENT:
        world_mark_sent(w, e);
        break;
    case EFFECT_RESEND:
        world_resend(w, e);
        break;
    case EFFECT_SETTLE_LATE_JOB:
        world_note(w, "settle:%s", e->job_id);
        break;
    case EFFECT_LEAVE_LATE_JOB:
        world_note(w, "leave:%s", e->job_id);
        break;
    case EFFECT_CONFIRM:
        world_confirm(w, e);
        break;
    case EFFECT_SPLIT:
        world_split(w, e);
        break;
    case EFFECT_BLOCK_ACCOUNT:
        world_note(w, "block:%s:%d", world_name(e->endpoint), (int)e->wait_ms);
        break;
    case EFFECT_STORE_LIST_NAME:
        world_note(w, "name:%s", e->list_name);
        break;
    case EFFECT_GIVE_UP_LISTING:
        world_note(w, "no-listing:%d", e->status);
        break;
    case EFFECT_KEEP_WORDS:
        world_note(w, "words:%s", e->code);
        break;
    case EFFECT_FETCH_PLANNED:
        world_fetch(w, e, &result);
        break;
    case EFFECT_LOAD_BODY: /* a body that is read is no deed */
        world_load(w, e);
        break;
    case EFFECT_CLAIM_LIST:
        result.claim = w->list_busy ? LIST_CLAIM_BUSY : LIST_CLAIM_SHARED;
        world_note(w, w->list_busy ? "claim:busy" : "claim");
        w->list_busy = false;
        break;
    case EFFECT_RELEASE_HELD: /* test_removal.c has a world with people in it */
        world_note(w, "release");
        break;
    case EFFECT_FETCH_LEAVERS:
        world_note(w, "leavers");
        break;
    case EFFECT_FORGET_LEAVERS:
        fail();
        break;
    case EFFECT_SEND:
        world_send(w, e, &result);
        break;
    case EFFECT_FAIL:
        world_note(w, "fail:%s%s", run_reason_name(e->reason), e->key_refused ? "!" : "");
        w->over = true;
        return;
    case EFFECT_DONE:
        world_note(w, "done%s%s", e->reason != REASON_NONE ? ":" : "",
                   e->reason != REASON_NONE ? run_reason_name(e->reason) : "");
        w->over = true;
        return;
    case EFFECT_NONE:
        fail();
    }
    assert_true(delivery_performed(&w->delivery, e, &result, w->now_ms, &err));
}

/* Performs what is due now, to the last of it. */
static void world_settle(struct world *w)
{
    struct effect effect;

    for (int n = 0; !w->over && delivery_next(&w->delivery, w->now_ms, &effect); n++) {
        assert_true(n < 1000);
        world_perform(w, &effect);
    }
}

/* ---- facts ---- */

static inline void world_adopt_late_job(struct world *w, int number, bool given_up)
{
    struct late_jobs jobs = { .items = calloc(1, sizeof *jobs.items), .n = 1 };
    struct error err = ERROR_INIT;

    assert_non_null(jobs.items);
    *jobs.items = (struct late_job){ .late_job_id = number, .given_up = given_up };
    assert_true(asprintf(&jobs.items->job_id, "L%d", number) > 0);
    assert_true(delivery_adopt_late_jobs(&w->delivery, &jobs, w->now_ms, &err));
}

static void world_plan_news(struct world *w)
{
    struct delivery_plan_news news = { .more = w->more_planned,
                                       .may_deliver = !w->undecided,
                                       .done = w->plan_done,
                                       .figures = w->figures };

    w->more_planned = false;
    delivery_plan(&w->delivery, &news);
}

struct world_response {
    enum transport transport;
    int status;
    const char *content_type; /* NULL: JSON:API */
    const char *retry_after;
    const char *body;
};

static void world_land(struct world *w, struct pending_request *pending)
{
    size_t kept = 0;

    for (size_t i = 0; i < w->n_in_flight; i++)
        if (w->in_flight[i] != pending)
            w->in_flight[kept++] = w->in_flight[i];
    assert_int_equal(kept, w->n_in_flight - 1);
    w->n_in_flight = kept;
    if (pending->endpoint == ENDPOINT_IMPORT)
        w->batches[pending->import->batch.batch_id].posting = false;
}

static void world_respond(struct world *w, struct pending_request *pending,
                          const struct world_response *from)
{
    const char *type = from->content_type ? from->content_type : "application/vnd.api+json";
    struct response response = {
        .tag = pending,
        .endpoint = pending->endpoint,
        .transport = from->transport,
        .status = from->status,
        .content_type = strdup(type),
        .retry_after = from->retry_after ? strdup(from->retry_after) : NULL,
        .body = from->body ? strdup(from->body) : NULL,
        .body_bytes = from->body ? strlen(from->body) : 0,
    };
    struct verdict verdict = VERDICT_INIT;
    struct error err = ERROR_INIT;

    (void)snprintf(response.why, sizeof response.why, "%s",
                   from->transport == TRANSPORT_ANSWERED ? "" : "it broke");
    world_land(w, pending);
    /* Tue, 24 Nov 2026 08:00:47 GMT */
    assert_true(verdict_judge(&response, delivery_request_rows(pending), INT64_C(1795507247000000),
                              &verdict, &err));
    struct delivery_reply reply = { pending, &response, &verdict, w->now_ms };
    assert_true(delivery_response(&w->delivery, &reply, &err));
    verdict_release(&verdict);
    response_release(&response);
}

/* ---- bodies ---- */

PRINTF_LIKE(2, 3) static void body_add(char *body, const char *fmt, ...)
{
    size_t len = strlen(body);
    va_list args;

    va_start(args, fmt);
    len += (size_t)vsnprintf(body + len, WORLD_BODY_BYTES - len, fmt, args);
    va_end(args);
    assert_true(len < WORLD_BODY_BYTES);
}

static void body_add_job(char *body, const char *id, const char *status, const char *failed)
{
    body_add(body,
             "{\"type\":\"profile-bulk-import-job\",\"id\":\"%s\",\"attributes\":"
             "{\"status\":\"%s\",\"failed_count\":%s}}",
             id, status, failed);
}

/* What Klaviyo knows of a job changes by being told. */
static void world_job_told(struct world *w, const char *id, const char *status, const char *failed)
{
    for (int i = 1; i <= w->n_batches; i++)
        if (strcmp(w->batches[i].job, id) == 0 && w->batches[i].state == WORLD_SENT) {
            w->batches[i].job_ended =
                strcmp(status, "complete") == 0 || strcmp(status, "cancelled") == 0;
            w->batches[i].uncounted =
                strcmp(status, "complete") == 0 && strcmp(failed, "null") == 0;
        }
}

/* ---- a Klaviyo that does what it is asked ---- */

static void world_answer_well(struct world *w, struct pending_request *pending)
{
    char body[WORLD_BODY_BYTES] = "", id[16];
    struct world_response response = { .status = 200, .body = body };

    switch (pending->endpoint) {
    case ENDPOINT_IMPORT:
        response.status = 202;
        (void)snprintf(id, sizeof id, "J%d", ++w->n_jobs);
        body_add(body, "{\"data\":");
        body_add_job(body, id, "queued", "null");
        body_add(body, "}");
        break;
    case ENDPOINT_JOB:
        body_add(body, "{\"data\":");
        body_add_job(body, pending->import->batch.job_id, "complete", "0");
        body_add(body, "}");
        world_job_told(w, pending->import->batch.job_id, "complete", "0");
        break;
    case ENDPOINT_LIST:
        body_add(body, "{\"data\":{\"type\":\"list\",\"id\":\"L1\"}}");
        break;
    case ENDPOINT_JOBS: /* none of ours is on the page: each is asked for by itself */
    case ENDPOINT_IMPORT_ERRORS:
    case ENDPOINT_LIST_SIZE:
    case ENDPOINT_LISTS:
    case ENDPOINT_LIST_PROFILES:
    case ENDPOINT_LIST_REMOVE:
    case ENDPOINT_PROFILES:
    case ENDPOINT_ACCOUNTS:
    case ENDPOINT_USAGE:
    case ENDPOINT_FLOWS:
    case ENDPOINT_COUNT:
        body_add(body, "{\"data\":[],\"links\":{\"next\":null}}");
        break;
    }
    world_respond(w, pending, &response);
}

/* False: nothing is due, nothing in flight, and it is no end. */
static bool world_pass_time(struct world *w)
{
    int64_t due = delivery_due_ms(&w->delivery, w->now_ms);

    if (due == REQUEST_SCHEDULE_NEVER)
        return false;
    w->now_ms = due > w->now_ms ? due : w->now_ms + 1;
    return true;
}

/* To the end, without further trouble. */
static void world_finish(struct world *w)
{
    w->plan_done = true;
    for (int n = 0; !w->over; n++) {
        assert_true(n < 10000);
        world_plan_news(w);
        world_settle(w);
        if (w->over)
            return;
        if (w->n_in_flight > 0)
            world_answer_well(w, w->in_flight[0]);
        else
            assert_true(world_pass_time(w));
    }
}

#endif
