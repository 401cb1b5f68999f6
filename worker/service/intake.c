#include "worker/service/intake.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"

enum {
    BATCH_MAX = 500,        /* events a commit */
    LOOK_INTERVAL_MS = 200, /* where no notification comes: poolers swallow them */
    LOOK_PAUSE_MS = 20,     /* between looks, however many notifications come */
    IDLE_MS = 1000,
    BACK_OFF_MIN_MS = 100,
    BACK_OFF_MAX_MS = 5000,
    REFUSED_MAX_MS = 1000, /* where the database answers, other events can go on */
};

struct drop {
    struct drop *next;
    int32_t partition;
};

struct intake {
    const struct intake_ports *ports;
    struct service_metrics *metrics;
    pthread_t thread;
    int in_fd, out_fd; /* eventfds: something was put in, came out */

    pthread_mutex_t lock; /* of these */
    struct open_event_list in, out;
    struct drop *drops;
    bool stop;

    /* The thread's own. */
    struct open_event_list fresh;   /* to accept */
    struct open_event_list buried;  /* to mark */
    struct open_event_list waiting; /* accepted, and open */
    size_t batch_max;
    bool connected;
    bool failing; /* has been logged */
    int64_t back_off_ms, not_before_ms;
    int64_t looked_ms;
    bool look_soon; /* something may have ended */
};

/* Events and their lists. */

struct open_event *open_event_new(struct record *record, int64_t epoch)
{
    struct open_event *event = calloc(1, sizeof *event);

    if (!event) {
        record_free(record);
        return NULL;
    }
    event->record = record;
    event->epoch = epoch;
    event->bytes = sizeof *event + record_bytes(record);
    return event;
}

void open_event_free(struct open_event *event)
{
    if (!event)
        return;
    event_release(&event->event);
    record_free(event->record);
    free(event->reason);
    free(event->detail);
    free(event->exports);
    free(event);
}

void open_event_push(struct open_event_list *list, struct open_event *event)
{
    event->next = NULL;
    if (list->last)
        list->last->next = event;
    else
        list->first = event;
    list->last = event;
    list->n++;
}

struct open_event *open_event_pop(struct open_event_list *list)
{
    struct open_event *event = list->first;

    if (!event)
        return NULL;
    list->first = event->next;
    if (!list->first)
        list->last = NULL;
    list->n--;
    event->next = NULL;
    return event;
}

void open_event_append(struct open_event_list *list, struct open_event_list *from)
{
    if (!from->first)
        return;
    if (list->last)
        list->last->next = from->first;
    else
        list->first = from->first;
    list->last = from->last;
    list->n += from->n;
    *from = (struct open_event_list){ 0 };
}

static void free_list(struct open_event_list *list)
{
    for (struct open_event *event; (event = open_event_pop(list));)
        open_event_free(event);
}

/* Moves the events of a partition from one list to another, as dropped. */
static void drop_from(struct open_event_list *list, int32_t partition,
                      struct open_event_list *dropped)
{
    struct open_event_list kept = { 0 };

    for (struct open_event *event; (event = open_event_pop(list));) {
        bool ours = event->record->partition == partition && event->state == OPEN_EVENT_NEW;
        if (ours)
            event->state = OPEN_EVENT_DROPPED;
        open_event_push(ours ? dropped : &kept, event);
    }
    *list = kept;
}

/* The border between the threads. */

static void ring(int fd)
{
    const uint64_t one = 1;

    (void)!write(fd, &one, sizeof one); /* full means rung already */
}

static void silence(int fd)
{
    uint64_t count;

    (void)!read(fd, &count, sizeof count);
}

void intake_submit(struct intake *intake, struct open_event_list *events)
{
    if (!events->first)
        return;
    (void)pthread_mutex_lock(&intake->lock);
    open_event_append(&intake->in, events);
    (void)pthread_mutex_unlock(&intake->lock);
    ring(intake->in_fd);
}

void intake_drop(struct intake *intake, int32_t partition)
{
    struct drop *drop = calloc(1, sizeof *drop);

    assert(drop);
    drop->partition = partition;
    (void)pthread_mutex_lock(&intake->lock);
    drop_from(&intake->in, partition, &intake->out);
    drop->next = intake->drops;
    intake->drops = drop;
    (void)pthread_mutex_unlock(&intake->lock);
    ring(intake->in_fd);
}

int intake_fd(const struct intake *intake)
{
    return intake->out_fd;
}

void intake_collect(struct intake *intake, struct open_event_list *out)
{
    silence(intake->out_fd);
    (void)pthread_mutex_lock(&intake->lock);
    open_event_append(out, &intake->out);
    (void)pthread_mutex_unlock(&intake->lock);
}

static void put_out(struct intake *intake, struct open_event_list *events)
{
    if (!events->first)
        return;
    (void)pthread_mutex_lock(&intake->lock);
    open_event_append(&intake->out, events);
    (void)pthread_mutex_unlock(&intake->lock);
    ring(intake->out_fd);
}

/* What was put in comes to the thread's own lists; drops first, they are older. */
static bool take_in(struct intake *intake)
{
    struct open_event_list events = { 0 };
    struct open_event_list dropped = { 0 };

    silence(intake->in_fd);
    (void)pthread_mutex_lock(&intake->lock);
    open_event_append(&events, &intake->in);
    struct drop *drops = intake->drops;
    intake->drops = NULL;
    bool stop = intake->stop;
    (void)pthread_mutex_unlock(&intake->lock);

    while (drops) {
        struct drop *drop = drops;
        drops = drop->next;
        drop_from(&intake->fresh, drop->partition, &dropped);
        drop_from(&intake->waiting, drop->partition, &dropped);
        free(drop);
    }
    put_out(intake, &dropped);
    for (struct open_event *event; (event = open_event_pop(&events));)
        open_event_push(event->state == OPEN_EVENT_BURIED ? &intake->buried : &intake->fresh,
                        event);
    return !stop;
}

/* The database. */

static void back_off(struct intake *intake, int64_t max_ms)
{
    int64_t doubled = intake->back_off_ms * 2;

    if (doubled < BACK_OFF_MIN_MS)
        doubled = BACK_OFF_MIN_MS;
    intake->back_off_ms = doubled < max_ms ? doubled : max_ms;
    intake->not_before_ms = clock_ms() + intake->back_off_ms;
}

/* Nothing is lost by a failure: what was to be done is still in its list. */
static void failed(struct intake *intake, const char *what, const struct error *err)
{
    intake->metrics->database_errors++;
    if (!intake->failing || err->kind != ERROR_RETRY)
        log_warn("intake_failed", LOG_STR("doing", what), LOG_ERROR_OF(err));
    intake->failing = true;
    if (err->kind == ERROR_RETRY) {
        intake->ports->disconnect(intake->ports->world);
        intake->connected = false;
        intake->metrics->database_reached = false;
    }
    back_off(intake, err->kind == ERROR_RETRY ? BACK_OFF_MAX_MS : REFUSED_MAX_MS);
}

static void worked(struct intake *intake)
{
    if (intake->failing)
        log_info("intake_recovered");
    intake->failing = false;
    intake->back_off_ms = 0;
}

static bool connect_database(struct intake *intake)
{
    struct error err = ERROR_INIT;

    if (intake->connected)
        return true;
    if (!intake->ports->connect(intake->ports->world, &err)) {
        failed(intake, "connecting", &err);
        return false;
    }
    intake->connected = true;
    intake->metrics->database_reached = true;
    intake->look_soon = true; /* notifications may have been missed */
    worked(intake);
    return true;
}

static void describe(const struct open_event *event, struct request_in *in)
{
    const struct event *e = &event->event;

    *in = (struct request_in){
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
    in->traceparent = e->traceparent;
}

static void log_event(enum log_level level, const char *name, const struct open_event *event)
{
    log_at(level, name, LOG_INT("partition", event->record->partition),
           LOG_INT("offset", event->record->offset), LOG_INT("request", event->request_id),
           LOG_STR("segment", event->valid ? event->event.segment_id : ""));
}

/* Where an event goes once its row stands, or needs none. */
static void sort_accepted(struct intake *intake, struct open_event *event,
                          const struct request_out *out, struct open_event_list *done)
{
    event->request_id = out->request_id;
    switch (out->state) {
    case REQUEST_OPEN:
        log_event(LOG_LEVEL_DEBUG, "event_accepted", event);
        open_event_push(&intake->waiting, event);
        return;
    case REQUEST_DEAD_LETTER_DUE:
        if (event->valid) { /* a look brings the reason */
            open_event_push(&intake->waiting, event);
            intake->look_soon = true;
            return;
        }
        event->state = OPEN_EVENT_DEAD;
        break;
    case REQUEST_IGNORED:
        log_event(LOG_LEVEL_INFO, "event_ignored", event);
        event->state = OPEN_EVENT_IGNORED;
        break;
    case REQUEST_DONE:
    case REQUEST_DEAD_LETTERED:
        log_event(LOG_LEVEL_DEBUG, "event_known", event);
        event->state = OPEN_EVENT_DONE;
        break;
    }
    open_event_push(done, event);
}

/*
 * The database refused something about these events: they go to the end of the
 * queue, and fewer are tried together, until a single one stands alone.
 */
static void set_aside(struct intake *intake, struct open_event_list *batch)
{
    if (batch->n == 1)
        log_event(LOG_LEVEL_ERROR, "event_not_accepted", batch->first);
    intake->batch_max = intake->batch_max > 1 ? batch->n / 2 : 1;
    if (intake->batch_max == 0)
        intake->batch_max = 1;
    open_event_append(&intake->fresh, batch);
}

static void put_back(struct intake *intake, struct open_event_list *batch)
{
    open_event_append(batch, &intake->fresh);
    intake->fresh = *batch;
}

static bool accept_batch(struct intake *intake)
{
    struct request_in in[BATCH_MAX];
    struct request_out out[BATCH_MAX];
    struct open_event_list batch = { 0 };
    struct open_event_list done = { 0 };
    struct error err = ERROR_INIT;
    size_t n = 0;

    while (n < intake->batch_max && intake->fresh.first) {
        describe(intake->fresh.first, &in[n++]);
        open_event_push(&batch, open_event_pop(&intake->fresh));
    }
    if (n == 0)
        return true;
    if (!intake->ports->accept(intake->ports->world, in, n, out, &err)) {
        failed(intake, "accepting events", &err);
        if (err.kind == ERROR_RETRY)
            put_back(intake, &batch);
        else
            set_aside(intake, &batch);
        return false;
    }
    worked(intake);
    intake->batch_max = intake->batch_max * 2 < BATCH_MAX ? intake->batch_max * 2 : BATCH_MAX;
    for (size_t i = 0; i < n; i++)
        sort_accepted(intake, open_event_pop(&batch), &out[i], &done);
    put_out(intake, &done);
    return true;
}

/* The letters of these are acknowledged: their rows say so, then their offsets are released. */
static bool mark_buried(struct intake *intake)
{
    int64_t ids[BATCH_MAX];
    struct open_event_list done = { 0 };
    struct error err = ERROR_INIT;
    size_t n = 0;

    for (struct open_event *event = intake->buried.first; event && n < BATCH_MAX;
         event = event->next)
        ids[n++] = event->request_id;
    if (n == 0)
        return true;
    if (!intake->ports->mark(intake->ports->world, ids, n, &err)) {
        failed(intake, "marking dead letters", &err);
        return false;
    }
    worked(intake);
    for (size_t i = 0; i < n; i++) {
        struct open_event *event = open_event_pop(&intake->buried);
        event->state = OPEN_EVENT_DONE;
        open_event_push(&done, event);
    }
    put_out(intake, &done);
    return true;
}

static int compare_ends(const void *a, const void *b)
{
    const struct request_end *left = a;
    const struct request_end *right = b;

    return (left->request_id > right->request_id) - (left->request_id < right->request_id);
}

static char *copy_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    assert(copy || !text);
    return copy;
}

static void end_event(struct open_event *event, const struct request_end *end)
{
    bool dead = end->state == REQUEST_DEAD_LETTER_DUE;

    event->state = dead ? OPEN_EVENT_DEAD : OPEN_EVENT_DONE;
    if (!dead)
        return;
    event->reason = copy_text(end->reason ? end->reason : "failed");
    event->detail = copy_text(end->detail);
    event->exports = copy_text(end->exports);
    event->run_id = end->run_id;
}

static void sort_ended(struct intake *intake, struct request_end *ends, size_t n)
{
    struct open_event_list still = { 0 };
    struct open_event_list done = { 0 };

    qsort(ends, n, sizeof *ends, compare_ends);
    for (struct open_event *event; (event = open_event_pop(&intake->waiting));) {
        const struct request_end key = { .request_id = event->request_id };
        const struct request_end *end = bsearch(&key, ends, n, sizeof *ends, compare_ends);
        if (end)
            end_event(event, end);
        open_event_push(end ? &done : &still, event);
    }
    intake->waiting = still;
    put_out(intake, &done);
}

static bool look(struct intake *intake)
{
    struct request_end *ends = NULL;
    struct error err = ERROR_INIT;
    size_t n = 0;
    size_t n_ends = 0;

    intake->look_soon = false;
    intake->looked_ms = clock_ms();
    if (!intake->waiting.first)
        return true;

    int64_t *ids = calloc(intake->waiting.n, sizeof *ids);
    bool ok = ids != NULL;
    for (struct open_event *event = intake->waiting.first; ok && event; event = event->next)
        ids[n++] = event->request_id;
    ok = ok ? intake->ports->ended(intake->ports->world, ids, n, &ends, &n_ends, &err)
            : error_no_memory(&err);
    free(ids);
    if (!ok) {
        failed(intake, "asking for what has ended", &err);
        return false;
    }
    worked(intake);
    if (n_ends > 0)
        sort_ended(intake, ends, n_ends);
    request_ends_free(ends, n_ends);
    return true;
}

/* When the next look is due. */
static int64_t next_look_ms(const struct intake *intake)
{
    if (!intake->waiting.first)
        return INT64_MAX;
    return intake->looked_ms + (intake->look_soon ? LOOK_PAUSE_MS : LOOK_INTERVAL_MS);
}

static bool has_work(const struct intake *intake)
{
    return intake->fresh.first || intake->buried.first;
}

/* One step of each kind of work; what is left is done in the next turn. */
static void serve(struct intake *intake)
{
    if (clock_ms() < intake->not_before_ms || !connect_database(intake))
        return;
    if (!mark_buried(intake) || !accept_batch(intake))
        return;
    if (clock_ms() >= next_look_ms(intake))
        (void)look(intake);
}

static int wait_ms(const struct intake *intake)
{
    int64_t now_ms = clock_ms();
    int64_t until_ms = now_ms + IDLE_MS;

    if (now_ms < intake->not_before_ms)
        until_ms = intake->not_before_ms;
    else if (!intake->connected || has_work(intake))
        until_ms = now_ms;
    else if (next_look_ms(intake) < until_ms)
        until_ms = next_look_ms(intake);
    return until_ms > now_ms ? (int)(until_ms - now_ms) : 0;
}

static void wait_for_something(struct intake *intake)
{
    struct pollfd fds[] = {
        { .fd = intake->in_fd, .events = POLLIN },
        { .fd = intake->connected ? intake->ports->socket(intake->ports->world) : -1,
          .events = POLLIN },
    };
    struct error gone = ERROR_INIT;

    (void)poll(fds, 2, wait_ms(intake));
    if (!fds[1].revents)
        return;
    intake->look_soon = true;
    if (!intake->ports->notified(intake->ports->world)) {
        (void)error_set(&gone, ERROR_RETRY, "the connection was closed");
        failed(intake, "waiting", &gone);
        intake->not_before_ms = 0; /* one attempt at once: servers restart quickly */
    }
}

static void *run(void *opaque)
{
    struct intake *intake = opaque;

    while (take_in(intake)) {
        intake->metrics->intake_turn_ms = clock_ms();
        serve(intake);
        wait_for_something(intake);
    }
    if (intake->connected)
        intake->ports->disconnect(intake->ports->world);
    return NULL;
}

/* Beginning and end. */

static void release(struct intake *intake)
{
    if (intake->in_fd >= 0)
        (void)close(intake->in_fd);
    if (intake->out_fd >= 0)
        (void)close(intake->out_fd);
    (void)pthread_mutex_destroy(&intake->lock);
    free(intake);
}

struct intake *intake_start(const struct intake_ports *ports, struct service_metrics *metrics,
                            struct error *err)
{
    struct intake *intake = calloc(1, sizeof *intake);

    if (!intake) {
        (void)error_no_memory(err);
        return NULL;
    }
    intake->ports = ports;
    intake->metrics = metrics;
    intake->batch_max = BATCH_MAX;
    (void)pthread_mutex_init(&intake->lock, NULL);
    intake->in_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    intake->out_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (intake->in_fd < 0 || intake->out_fd < 0 ||
        pthread_create(&intake->thread, NULL, run, intake) != 0) {
        (void)error_errno(err, ERROR_FATAL, "starting intake");
        release(intake);
        return NULL;
    }
    return intake;
}

void intake_free(struct intake *intake)
{
    if (!intake)
        return;
    (void)pthread_mutex_lock(&intake->lock);
    intake->stop = true;
    (void)pthread_mutex_unlock(&intake->lock);
    ring(intake->in_fd);
    (void)pthread_join(intake->thread, NULL);

    free_list(&intake->in);
    free_list(&intake->out);
    free_list(&intake->fresh);
    free_list(&intake->buried);
    free_list(&intake->waiting);
    while (intake->drops) {
        struct drop *drop = intake->drops;
        intake->drops = drop->next;
        free(drop);
    }
    release(intake);
}
