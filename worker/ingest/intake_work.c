#include "worker/ingest/intake_work.h"

#include <sodium.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/retry.h"
#include "worker/store/run_state.h"

enum {
    BATCH_MAX = INTAKE_BATCH_MAX,
    ENDS_POLL_INTERVAL_MS = 200, /* without notifications: poolers swallow them */
    ENDS_POLL_PAUSE_MS = 20,     /* between polls, however many notifications come */
    ENDS_POLL_MAX = 4000,        /* events per poll: 9 ms on 2 cores, PostgreSQL 15 */
    IDLE_MS = 1000,
    BACK_OFF_MIN_MS = 100,
};

/* If the database answers, other events can continue: shorter than if it is unreachable. */
static const struct retry_policy away = { .base_ms = 200, .cap_ms = 5000 };
static const struct retry_policy refused = { .base_ms = 200, .cap_ms = 1000 };

static void back_off(struct intake_work *work, struct retry_policy policy)
{
    work->attempts++;
    work->not_before_ms =
        clock_ms() + retry_wait_ms(policy, work->attempts, randombytes_random(), BACK_OFF_MIN_MS);
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
    back_off(work, err->kind == ERROR_RETRY ? away : refused);
}

static void worked(struct intake_work *work)
{
    if (work->failing)
        log_info("intake_recovered");
    work->failing = false;
    work->attempts = 0;
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
    work->poll_soon = true; /* notifications may have been missed */
    /* A successful connect does not reset the back-off: a server with a full disk accepts
     * connections but no writes. */
    return true;
}

static void describe(const struct pending_event *event, struct event_row *in)
{
    const struct event *e = &event->body->event;

    *in = (struct event_row){
        .topic = event->body->record->topic,
        .partition = event->partition,
        .offset = event->offset,
        .timestamp_ms = event->timestamp_ms,
    };
    if (event->death) {
        in->reason = event->death->reason;
        in->detail = event->death->detail;
        return;
    }
    in->source = e->source;
    in->event_id = e->id;
    in->segment_id = e->segment_id;
    in->refresh_id = e->refresh_id;
    in->refreshed_at_us = e->refreshed_at_us;
    in->trigger = e->trigger == EVENT_TRIGGER_ON_DEMAND ? "on-demand" : "schedule";
    in->export_name = e->export_id;
    in->full = e->full;
    in->confirm_removals = e->confirm_removals;
    in->confirmed = e->confirmed;
    in->traceparent = *e->traceparent ? e->traceparent : NULL;
}

static void log_event(enum log_level level, const char *name, const struct pending_event *event)
{
    const struct event *e = &event->body->event;

    log_at(level, name, LOG_INT("partition", event->partition), LOG_INT("offset", event->offset),
           LOG_INT("request", event->request_id), LOG_STR("segment", e->segment_id),
           LOG_STR("trace", e->traceparent));
}

static void release_body(struct intake_work *work, struct pending_event *event)
{
    work->released_events++;
    work->released_bytes += pending_event_drop_body(event);
}

static void wait_for_end(struct intake_work *work, struct pending_event *event)
{
    release_body(work, event);
    pending_event_push(&work->waiting, event);
}

/* Out, to come back with its record after that time. */
static void leave_unread(struct intake_work *work, struct pending_event *event, int64_t ms)
{
    if (event->body)
        release_body(work, event);
    event->state = PENDING_EVENT_UNREAD;
    event->request_id = 0;
    event->not_before_ms = clock_ms() + ms;
    pending_event_push(&work->out, event);
}

static void put_out(struct intake_work *work, struct pending_event *event,
                    enum pending_event_state state)
{
    event->state = state;
    pending_event_push(&work->out, event);
}

/*
 * A letter is due. If there is one already, which only has yet to be marked (the partition
 * was away meanwhile), that event ends this one's offset, too.
 */
static void bury(struct intake_work *work, struct pending_event *event)
{
    bool written = pending_event_list_adopt(&work->unmarked, event) ||
                   pending_event_list_adopt(&work->dead_lettered, event);

    put_out(work, event, written ? PENDING_EVENT_TWIN : PENDING_EVENT_DEAD_LETTER_DUE);
}

/* Where an event goes once its row is written, or needs none. */
static void sort_accepted(struct intake_work *work, struct pending_event *event,
                          const struct event_row_result *out)
{
    event->request_id = out->request_id;
    switch (out->state) {
    case EVENT_ROW_OPEN:
        log_event(LOG_LEVEL_DEBUG, "event_accepted", event);
        wait_for_end(work, event);
        return;
    case EVENT_ROW_DEAD_LETTER_DUE:
        if (event->death) {
            bury(work, event);
            return;
        }
        work->poll_soon = true; /* a poll brings the reason */
        wait_for_end(work, event);
        return;
    case EVENT_ROW_IGNORED:
        log_event(LOG_LEVEL_INFO, "event_ignored", event);
        put_out(work, event, PENDING_EVENT_IGNORED);
        return;
    case EVENT_ROW_BLOCKED:
        leave_unread(work, event, work->accept_lock.pause_ms);
        return;
    case EVENT_ROW_DONE:
    case EVENT_ROW_DEAD_LETTERED:
    case EVENT_ROW_MISSING:
        break;
    }
    log_event(LOG_LEVEL_DEBUG, "event_known", event);
    put_out(work, event, PENDING_EVENT_DONE);
}

static void put_back(struct intake_work *work, struct pending_event_list *batch)
{
    pending_event_append(batch, &work->fresh);
    work->fresh = *batch;
}

static void try_fewer(struct intake_work *work, size_t n)
{
    work->batch_max = n > 1 ? n / 2 : 1;
}

/*
 * The database refused to work on these events, and not for their data: they go to the
 * end of the queue, and fewer are tried together, down to a single one. Events that were
 * accepted before are still polled meanwhile.
 */
static void set_aside(struct intake_work *work, struct pending_event_list *batch)
{
    if (batch->first && !batch->first->next)
        log_event(LOG_LEVEL_ERROR, "event_not_accepted", batch->first);
    try_fewer(work, batch->n);
    work->accept_after_ms = work->not_before_ms;
    work->not_before_ms = 0;
    pending_event_append(&work->fresh, batch);
}

/*
 * The data of at least one of these events are refused. It is found by halving, and
 * fails; also if the database refuses even to record that.
 */
static void take_refusal(struct intake_work *work, struct pending_event_list *batch,
                         const struct error *err)
{
    struct pending_event *event = batch->first;

    work->metrics->database_errors++;
    try_fewer(work, batch->n);
    if (!event || event->next) {
        put_back(work, batch);
        return;
    }
    log_event(LOG_LEVEL_ERROR, "event_refused", event);
    if (event->death) {
        bury(work, pending_event_pop(batch));
        return;
    }
    work->metrics->events_invalid++;
    pending_event_die(event, run_reason_name(REASON_EVENT_INVALID), err->text);
    put_back(work, batch);
}

/* ---- another session's lock ---- */

enum {
    BLOCKED_MIN_MS = 500,
    BLOCKED_MAX_MS = 5000,
    EXPECTED_MS = 10000,       /* how long a lock that was met may be met again */
    BLOCKED_REPEAT_MS = 30000, /* how often its holder is named */
};

static bool lock_is_expected(const struct intake_lock *lock)
{
    return clock_ms() < lock->expected_until_ms;
}

static void log_blocked(struct intake_work *work, struct intake_lock *lock, size_t n)
{
    struct lock_holder holder = { .pid = 0 };
    struct error err = ERROR_INIT;

    if (lock->logged_ms > 0 && clock_ms() - lock->logged_ms < BLOCKED_REPEAT_MS)
        return;
    lock->logged_ms = clock_ms();
    (void)!work->ports->lock_holder(work->ports->opaque, &holder, &err);
    log_warn("events_blocked", LOG_INT("events", n), LOG_INT("pid", holder.pid),
             LOG_STR("user", holder.user), LOG_STR("application", holder.application));
}

static int64_t next_pause_ms(int64_t pause_ms)
{
    int64_t next_ms = pause_ms * 2;

    if (next_ms < BLOCKED_MIN_MS)
        return BLOCKED_MIN_MS;
    return next_ms < BLOCKED_MAX_MS ? next_ms : BLOCKED_MAX_MS;
}

/* n events were held up; 0: it worked. */
static void note_blocked(struct intake_work *work, struct intake_lock *lock, size_t n)
{
    if (n == 0) {
        if (!lock_is_expected(lock))
            *lock = (struct intake_lock){ 0 };
        return;
    }
    work->metrics->events_blocked += (long long)n;
    work->metrics->event_blocked_ms = clock_ms();
    lock->pause_ms = next_pause_ms(lock->pause_ms);
    lock->expected_until_ms = clock_ms() + EXPECTED_MS;
    log_blocked(work, lock, n);
}

/* ---- steps of a turn ---- */

static void sort_batch(struct intake_work *work, struct pending_event_list *batch,
                       const struct event_row_result *out)
{
    size_t n_blocked = 0;

    for (size_t i = 0; i < batch->n; i++)
        n_blocked += out[i].state == EVENT_ROW_BLOCKED;
    note_blocked(work, &work->accept_lock, n_blocked);
    for (struct pending_event *event; (event = pending_event_pop(batch)); out++)
        sort_accepted(work, event, out);
}

/* Accepts them, one by one in the end if a lock holds up one of them or all. */
static enum events_accepted try_batch(struct intake_work *work, const struct event_row *in,
                                      size_t n, struct event_row_result *out, struct error *err)
{
    const struct intake_ports *ports = work->ports;
    enum events_accepted accepted = EVENTS_BLOCKED;

    if (!lock_is_expected(&work->accept_lock))
        accepted = ports->accept(ports->opaque, in, n, false, out, err);
    if (accepted == EVENTS_BLOCKED)
        accepted = ports->accept(ports->opaque, in, n, true, out, err);
    if (accepted != EVENTS_BLOCKED)
        return accepted;
    for (size_t i = 0; i < n; i++)
        out[i] = (struct event_row_result){ .state = EVENT_ROW_BLOCKED };
    return EVENTS_ACCEPTED;
}

static size_t take_batch(struct intake_work *work, struct pending_event_list *batch,
                         struct event_row *in)
{
    while (batch->n < work->batch_max && work->fresh.first) {
        describe(work->fresh.first, &in[batch->n]);
        pending_event_push(batch, pending_event_pop(&work->fresh));
    }
    return batch->n;
}

static bool accept_batch(struct intake_work *work)
{
    struct event_row in[BATCH_MAX];
    struct event_row_result out[BATCH_MAX];
    struct pending_event_list batch = { 0 };
    struct error err = ERROR_INIT;

    if (!work->fresh.first || clock_ms() < work->accept_after_ms)
        return true;
    size_t n = take_batch(work, &batch, in);
    switch (try_batch(work, in, n, out, &err)) {
    case EVENTS_ACCEPTED:
        work->accept_after_ms = 0;
        worked(work);
        work->batch_max = work->batch_max * 2 < BATCH_MAX ? work->batch_max * 2 : BATCH_MAX;
        sort_batch(work, &batch, out);
        return true;
    case EVENTS_REFUSED:
        take_refusal(work, &batch, &err);
        return true;
    case EVENTS_BLOCKED:
    case EVENTS_FAILED:
        break;
    }
    failed(work, "accepting events", &err);
    if (err.kind == ERROR_RETRY)
        put_back(work, &batch);
    else
        set_aside(work, &batch);
    return false;
}

static struct event_key key_of(const struct pending_event *event)
{
    return (struct event_key){ .request_id = event->request_id,
                               .partition = event->partition,
                               .offset = event->offset,
                               .timestamp_ms = event->timestamp_ms };
}

/* Of the first n_max events of the list, or of all; returns how many. */
static size_t keys_of(const struct pending_event_list *list, struct event_key *keys, size_t n_max)
{
    size_t n = 0;

    for (const struct pending_event *event = list->first; event && n < n_max; event = event->next)
        keys[n++] = key_of(event);
    return n;
}

/* ---- dead letters that are written ---- */

enum {
    REFUSED_MS = 1000, /* a letter that the database refuses to mark is left alone */
    HURRIED_MS = 100,  /* one that a lock holds up, while the worker stops */
};

/* The first one is to be marked, but later; its offset waits with it, others do not. */
static void leave_unmarked(struct intake_work *work, int64_t ms)
{
    struct pending_event *event = pending_event_pop(&work->dead_lettered);

    event->not_before_ms = clock_ms() + ms;
    pending_event_push(&work->unmarked, event);
}

static void try_unmarked_again(struct intake_work *work)
{
    while (work->unmarked.first && work->unmarked.first->not_before_ms <= clock_ms())
        pending_event_push(&work->dead_lettered, pending_event_pop(&work->unmarked));
}

/* The database works, but not on one of these: it is found by halving, and is alone then. */
static void set_marks_aside(struct intake_work *work, size_t n, const struct error *err)
{
    work->metrics->database_errors++;
    log_warn("intake_failed", LOG_STR("doing", "marking dead letters"), LOG_ERROR_OF(err));
    work->mark_max = n > 1 ? n / 2 : 1;
    for (size_t i = 0; i < n; i++)
        leave_unmarked(work, REFUSED_MS);
}

static void sort_marked(struct intake_work *work, size_t n, const bool *held)
{
    size_t n_held = 0;

    for (size_t i = 0; i < n; i++)
        n_held += held[i];
    note_blocked(work, &work->mark_lock, n_held);
    int64_t pause_ms = work->hurried ? HURRIED_MS : work->mark_lock.pause_ms;
    for (size_t i = 0; i < n; i++)
        if (held[i])
            leave_unmarked(work, pause_ms);
        else
            put_out(work, pending_event_pop(&work->dead_lettered), PENDING_EVENT_DONE);
    work->marked_events += n - n_held;
}

/*
 * The letters of these are acknowledged: their rows say so, then their offsets are released.
 * False: the database is not reachable.
 */
static bool mark_written(struct intake_work *work)
{
    struct event_key keys[BATCH_MAX];
    bool held[BATCH_MAX];
    bool at_once = work->hurried || lock_is_expected(&work->mark_lock);
    struct error err = ERROR_INIT;

    try_unmarked_again(work);
    size_t n = keys_of(&work->dead_lettered, keys, work->mark_max);
    if (n == 0)
        return true;
    if (work->ports->mark(work->ports->opaque, keys, n, at_once, held, &err)) {
        worked(work);
        work->mark_max = work->mark_max * 2 < BATCH_MAX ? work->mark_max * 2 : BATCH_MAX;
        sort_marked(work, n, held);
        return true;
    }
    if (err.kind != ERROR_RETRY) {
        set_marks_aside(work, n, &err);
        return true;
    }
    failed(work, "marking dead letters", &err);
    return false;
}

/* ---- ends of runs ---- */

/* Takes the texts of the end. */
static void die_of(struct pending_event *event, struct event_row_end *end)
{
    struct pending_event_death *death;

    pending_event_die(event, end->reason ? end->reason : run_reason_name(REASON_OTHER),
                      end->detail);
    death = event->death;
    death->exports = end->exports;
    death->traceparent = end->traceparent;
    death->run_id = end->run_id;
    end->exports = end->traceparent = NULL;
}

static void end_event(struct intake_work *work, struct pending_event *event,
                      struct event_row_end *end)
{
    if (end->state == EVENT_ROW_MISSING) {
        log_warn("event_row_missing", LOG_INT("partition", event->partition),
                 LOG_INT("offset", event->offset), LOG_INT("request", event->request_id));
        leave_unread(work, event, 0);
        return;
    }
    if (end->state != EVENT_ROW_DEAD_LETTER_DUE) {
        put_out(work, event, PENDING_EVENT_DONE);
        return;
    }
    die_of(event, end);
    bury(work, event);
}

/* Of the first n waiting events: those that have ended go out, the others to the end of the list.
 */
static void sort_ended(struct intake_work *work, size_t n, struct event_row_ends *ends)
{
    size_t n_ended = 0;

    for (size_t i = 0; i < n; i++) {
        struct pending_event *event = pending_event_pop(&work->waiting);

        if (n_ended < ends->n && ends->items[n_ended].nth == i)
            end_event(work, event, &ends->items[n_ended++]);
        else
            pending_event_push(&work->waiting, event);
    }
}

/* Asks for the first ENDS_POLL_MAX of those that wait, so that each gets its turn. */
static bool poll_ends(struct intake_work *work)
{
    struct event_key keys[ENDS_POLL_MAX];
    CLEANUP(event_row_ends_release) struct event_row_ends ends = { .n = 0 };
    struct error err = ERROR_INIT;

    if (work->poll_soon) {
        work->poll_soon = false;
        work->poll_left = work->waiting.n;
    }
    work->polled_ms = clock_ms();
    size_t n = keys_of(&work->waiting, keys, ENDS_POLL_MAX);
    if (n == 0)
        return true;
    if (!work->ports->ended(work->ports->opaque, keys, n, &ends, &err)) {
        failed(work, "asking for what has ended", &err);
        return false;
    }
    if (work->accept_after_ms == 0) /* else there is an event that the database refuses */
        worked(work);
    work->poll_left = work->poll_left > n ? work->poll_left - n : 0;
    sort_ended(work, n, &ends);
    return true;
}

/* When the next poll for ends is due. */
static int64_t next_poll_ms(const struct intake_work *work)
{
    if (!work->waiting.first)
        return INT64_MAX;
    bool soon = work->poll_soon || work->poll_left > 0;
    return work->polled_ms + (soon ? ENDS_POLL_PAUSE_MS : ENDS_POLL_INTERVAL_MS);
}

void intake_work_turn(struct intake_work *work)
{
    if (clock_ms() < work->not_before_ms || !connect_database(work))
        return;
    if (!mark_written(work) || (!accept_batch(work) && !work->connected))
        return;
    if (clock_ms() >= next_poll_ms(work))
        (void)poll_ends(work);
}

static int64_t next_accept_ms(const struct intake_work *work)
{
    return work->fresh.first ? work->accept_after_ms : INT64_MAX;
}

static int64_t next_mark_ms(const struct intake_work *work)
{
    if (work->dead_lettered.first)
        return 0;
    return work->unmarked.first ? work->unmarked.first->not_before_ms : INT64_MAX;
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
    else if (!work->connected)
        until_ms = now_ms;
    else
        until_ms = earlier(earlier(until_ms, next_mark_ms(work)),
                           earlier(next_accept_ms(work), next_poll_ms(work)));
    return until_ms > now_ms ? (int)(until_ms - now_ms) : 0;
}

void intake_work_init(struct intake_work *work, const struct intake_ports *ports,
                      struct service_metrics *metrics)
{
    *work = (struct intake_work){
        .ports = ports, .metrics = metrics, .batch_max = BATCH_MAX, .mark_max = BATCH_MAX
    };
}

void intake_work_release(struct intake_work *work)
{
    if (work->connected)
        work->ports->disconnect(work->ports->opaque);
    pending_event_list_clear(&work->fresh);
    pending_event_list_clear(&work->dead_lettered);
    pending_event_list_clear(&work->unmarked);
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

/* Another owner may come, who would write again what is not marked: do not wait. */
static void mark_now(struct intake_work *work)
{
    for (struct pending_event *event = work->unmarked.first; event; event = event->next)
        event->not_before_ms = clock_ms();
}

void intake_work_drop(struct intake_work *work, int32_t partition)
{
    pending_event_list_drop(&work->fresh, partition, &work->out);
    pending_event_list_drop(&work->waiting, partition, &work->out);
    mark_now(work);
}

void intake_work_hurry(struct intake_work *work)
{
    if (!work->hurried)
        mark_now(work);
    work->hurried = true;
}

int intake_work_socket(const struct intake_work *work)
{
    return work->connected ? work->ports->socket(work->ports->opaque) : -1;
}

void intake_work_notified(struct intake_work *work)
{
    struct error gone = ERROR_INIT;

    work->poll_soon = true;
    if (work->ports->notified(work->ports->opaque))
        return;
    (void)error_set(&gone, ERROR_RETRY, "the connection was closed");
    failed(work, "waiting", &gone);
    work->not_before_ms = 0; /* one attempt at once: servers restart quickly */
}
