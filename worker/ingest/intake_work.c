#include "worker/ingest/intake_work.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

enum {
    BATCH_MAX = INTAKE_BATCH_MAX,
    LOOK_INTERVAL_MS = 200, /* where no notification comes: poolers swallow them */
    LOOK_PAUSE_MS = 20,     /* between looks, however many notifications come */
    IDLE_MS = 1000,
    BACK_OFF_MIN_MS = 100,
    BACK_OFF_MAX_MS = 5000,
    REFUSED_MAX_MS = 1000, /* where the database answers, other events can go on */
};

static void back_off(struct intake_work *work, int64_t max_ms)
{
    int64_t doubled = work->back_off_ms * 2;

    if (doubled < BACK_OFF_MIN_MS)
        doubled = BACK_OFF_MIN_MS;
    work->back_off_ms = doubled < max_ms ? doubled : max_ms;
    work->not_before_ms = clock_ms() + work->back_off_ms;
}

/* Nothing is lost by a failure: what was to be done is still in its list. */
static void failed(struct intake_work *work, const char *what, const struct error *err)
{
    work->metrics->database_errors++;
    if (!work->failing || err->kind != ERROR_RETRY)
        log_warn("intake_failed", LOG_STR("doing", what), LOG_ERROR_OF(err));
    work->failing = true;
    if (err->kind == ERROR_RETRY) {
        work->ports->disconnect(work->ports->opaque);
        work->connected = false;
        work->metrics->database_reached = false;
    }
    back_off(work, err->kind == ERROR_RETRY ? BACK_OFF_MAX_MS : REFUSED_MAX_MS);
}

static void worked(struct intake_work *work)
{
    if (work->failing)
        log_info("intake_recovered");
    work->failing = false;
    work->back_off_ms = 0;
}

static bool connect_database(struct intake_work *work)
{
    struct error err = ERROR_INIT;

    if (work->connected)
        return true;
    if (!work->ports->connect(work->ports->opaque, &err)) {
        failed(work, "connecting", &err);
        return false;
    }
    work->connected = true;
    work->metrics->database_reached = true;
    work->look_soon = true; /* notifications may have been missed */
    /* Being let in is no success yet: a full disk lets in and takes nothing. */
    return true;
}

static void describe(const struct pending_event *event, struct event_row *in)
{
    const struct event *e = &event->event;

    *in = (struct event_row){
        .topic = event->record->topic,
        .partition = event->record->partition,
        .offset = event->record->offset,
        .timestamp_ms = event->record->timestamp_ms,
        .reason = event->reason,
        .detail = event->detail,
    };
    if (!event->valid)
        return;
    in->source = e->source;
    in->event_id = e->id;
    in->segment_id = e->segment_id;
    in->refresh_id = e->refresh_id;
    in->refreshed_at_us = e->refreshed_at_us;
    in->trigger = e->trigger == EVENT_TRIGGER_ON_DEMAND ? "on-demand" : "schedule";
    in->export_name = e->export_id;
    in->full = e->full;
    in->confirm_removals = e->confirm_removals;
    in->traceparent = *e->traceparent ? e->traceparent : NULL;
}

static void log_event(enum log_level level, const char *name, const struct pending_event *event)
{
    log_at(level, name, LOG_INT("partition", event->record->partition),
           LOG_INT("offset", event->record->offset), LOG_INT("request", event->request_id),
           LOG_STR("segment", event->event.segment_id), LOG_STR("trace", event->event.traceparent));
}

/* Where an event goes once its row stands, or needs none. */
static void sort_accepted(struct intake_work *work, struct pending_event *event,
                          const struct event_row_result *out, struct pending_event_list *done)
{
    event->request_id = out->request_id;
    switch (out->state) {
    case EVENT_ROW_OPEN:
        log_event(LOG_LEVEL_DEBUG, "event_accepted", event);
        pending_event_push(&work->waiting, event);
        return;
    case EVENT_ROW_DEAD_LETTER_DUE:
        if (event->valid) { /* a look brings the reason */
            pending_event_push(&work->waiting, event);
            work->look_soon = true;
            return;
        }
        event->state = PENDING_EVENT_DEAD_LETTER_DUE;
        break;
    case EVENT_ROW_IGNORED:
        log_event(LOG_LEVEL_INFO, "event_ignored", event);
        event->state = PENDING_EVENT_IGNORED;
        break;
    case EVENT_ROW_DONE:
    case EVENT_ROW_DEAD_LETTERED:
        log_event(LOG_LEVEL_DEBUG, "event_known", event);
        event->state = PENDING_EVENT_DONE;
        break;
    }
    pending_event_push(done, event);
}

/*
 * The database refused something about these events: they go to the end of the
 * queue, and fewer are tried together, until a single one stands alone. What was
 * accepted is looked after meanwhile.
 */
static void set_aside(struct intake_work *work, struct pending_event_list *batch)
{
    if (batch->n == 1)
        log_event(LOG_LEVEL_ERROR, "event_not_accepted", batch->first);
    work->batch_max = work->batch_max > 1 ? batch->n / 2 : 1;
    if (work->batch_max == 0)
        work->batch_max = 1;
    work->accept_after_ms = work->not_before_ms;
    work->not_before_ms = 0;
    pending_event_append(&work->fresh, batch);
}

static void put_back(struct intake_work *work, struct pending_event_list *batch)
{
    pending_event_append(batch, &work->fresh);
    work->fresh = *batch;
}

static bool may_accept(const struct intake_work *work, int64_t now_ms)
{
    return work->fresh.first && now_ms >= work->accept_after_ms;
}

static bool accept_batch(struct intake_work *work)
{
    struct event_row in[BATCH_MAX];
    struct event_row_result out[BATCH_MAX];
    struct pending_event_list batch = { 0 };
    struct pending_event_list done = { 0 };
    struct error err = ERROR_INIT;
    size_t n = 0;

    if (!may_accept(work, clock_ms()))
        return true;
    while (n < work->batch_max && work->fresh.first) {
        describe(work->fresh.first, &in[n++]);
        pending_event_push(&batch, pending_event_pop(&work->fresh));
    }
    if (!work->ports->accept(work->ports->opaque, in, n, out, &err)) {
        failed(work, "accepting events", &err);
        if (err.kind == ERROR_RETRY)
            put_back(work, &batch);
        else
            set_aside(work, &batch);
        return false;
    }
    work->accept_after_ms = 0;
    worked(work);
    work->batch_max = work->batch_max * 2 < BATCH_MAX ? work->batch_max * 2 : BATCH_MAX;
    for (size_t i = 0; i < n; i++)
        sort_accepted(work, pending_event_pop(&batch), &out[i], &done);
    pending_event_append(&work->out, &done);
    return true;
}

/* The letters of these are acknowledged: their rows say so, then their offsets are released. */
static bool mark_written(struct intake_work *work)
{
    int64_t ids[BATCH_MAX];
    struct pending_event_list done = { 0 };
    struct error err = ERROR_INIT;
    size_t n = 0;

    for (struct pending_event *event = work->dead_lettered.first; event && n < BATCH_MAX;
         event = event->next)
        ids[n++] = event->request_id;
    if (n == 0)
        return true;
    if (!work->ports->mark(work->ports->opaque, ids, n, &err)) {
        failed(work, "marking dead letters", &err);
        return false;
    }
    worked(work);
    for (size_t i = 0; i < n; i++) {
        struct pending_event *event = pending_event_pop(&work->dead_lettered);
        event->state = PENDING_EVENT_DONE;
        pending_event_push(&done, event);
    }
    pending_event_append(&work->out, &done);
    return true;
}

static int compare_ends(const void *a, const void *b)
{
    const struct event_row_end *left = a;
    const struct event_row_end *right = b;

    return (left->request_id > right->request_id) - (left->request_id < right->request_id);
}

static char *copy_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    assert(copy || !text);
    return copy;
}

static void end_event(struct pending_event *event, const struct event_row_end *end)
{
    bool dead = end->state == EVENT_ROW_DEAD_LETTER_DUE;

    event->state = dead ? PENDING_EVENT_DEAD_LETTER_DUE : PENDING_EVENT_DONE;
    if (!dead)
        return;
    event->reason = copy_text(end->reason ? end->reason : "failed");
    event->detail = copy_text(end->detail);
    event->exports = copy_text(end->exports);
    event->run_id = end->run_id;
}

static void sort_ended(struct intake_work *work, struct event_row_end *ends, size_t n)
{
    struct pending_event_list still = { 0 };
    struct pending_event_list done = { 0 };

    qsort(ends, n, sizeof *ends, compare_ends);
    for (struct pending_event *event; (event = pending_event_pop(&work->waiting));) {
        const struct event_row_end key = { .request_id = event->request_id };
        const struct event_row_end *end = bsearch(&key, ends, n, sizeof *ends, compare_ends);
        if (end)
            end_event(event, end);
        pending_event_push(end ? &done : &still, event);
    }
    work->waiting = still;
    pending_event_append(&work->out, &done);
}

static bool look(struct intake_work *work)
{
    struct event_row_end *ends = NULL;
    struct error err = ERROR_INIT;
    size_t n = 0;
    size_t n_ends = 0;

    work->look_soon = false;
    work->looked_ms = clock_ms();
    if (!work->waiting.first)
        return true;

    int64_t *ids = calloc(work->waiting.n, sizeof *ids);
    bool ok = ids != NULL;
    for (struct pending_event *event = work->waiting.first; ok && event; event = event->next)
        ids[n++] = event->request_id;
    ok = ok ? work->ports->ended(work->ports->opaque, ids, n, &ends, &n_ends, &err)
            : error_no_memory(&err);
    free(ids);
    if (!ok) {
        failed(work, "asking for what has ended", &err);
        return false;
    }
    if (work->accept_after_ms == 0) /* else there is an event that the database refuses */
        worked(work);
    if (n_ends > 0)
        sort_ended(work, ends, n_ends);
    event_row_ends_free(ends, n_ends);
    return true;
}

/* When the next look is due. */
static int64_t next_look_ms(const struct intake_work *work)
{
    if (!work->waiting.first)
        return INT64_MAX;
    return work->looked_ms + (work->look_soon ? LOOK_PAUSE_MS : LOOK_INTERVAL_MS);
}

void intake_work_turn(struct intake_work *work)
{
    if (clock_ms() < work->not_before_ms || !connect_database(work))
        return;
    if (!mark_written(work) || (!accept_batch(work) && !work->connected))
        return;
    if (clock_ms() >= next_look_ms(work))
        (void)look(work);
}

static int64_t next_accept_ms(const struct intake_work *work)
{
    return work->fresh.first ? work->accept_after_ms : INT64_MAX;
}

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

int intake_work_wait_ms(const struct intake_work *work)
{
    int64_t now_ms = clock_ms();
    int64_t until_ms = now_ms + IDLE_MS;

    if (now_ms < work->not_before_ms)
        until_ms = work->not_before_ms;
    else if (!work->connected || work->dead_lettered.first)
        until_ms = now_ms;
    else
        until_ms = earlier(until_ms, earlier(next_accept_ms(work), next_look_ms(work)));
    return until_ms > now_ms ? (int)(until_ms - now_ms) : 0;
}

void intake_work_init(struct intake_work *work, const struct intake_ports *ports,
                      struct service_metrics *metrics)
{
    *work = (struct intake_work){ .ports = ports, .metrics = metrics, .batch_max = BATCH_MAX };
}

void intake_work_release(struct intake_work *work)
{
    if (work->connected)
        work->ports->disconnect(work->ports->opaque);
    pending_event_list_clear(&work->fresh);
    pending_event_list_clear(&work->dead_lettered);
    pending_event_list_clear(&work->waiting);
    pending_event_list_clear(&work->out);
}

void intake_work_add(struct intake_work *work, struct pending_event_list *events)
{
    for (struct pending_event *event; (event = pending_event_pop(events));)
        pending_event_push(event->state == PENDING_EVENT_DEAD_LETTERED ? &work->dead_lettered
                                                                       : &work->fresh,
                           event);
}

void intake_work_drop(struct intake_work *work, int32_t partition)
{
    pending_event_list_drop(&work->fresh, partition, &work->out);
    pending_event_list_drop(&work->waiting, partition, &work->out);
}

int intake_work_socket(const struct intake_work *work)
{
    return work->connected ? work->ports->socket(work->ports->opaque) : -1;
}

void intake_work_notified(struct intake_work *work)
{
    struct error gone = ERROR_INIT;

    work->look_soon = true;
    if (work->ports->notified(work->ports->opaque))
        return;
    (void)error_set(&gone, ERROR_RETRY, "the connection was closed");
    failed(work, "waiting", &gone);
    work->not_before_ms = 0; /* one attempt at once: servers restart quickly */
}
