#include "worker/ingest/ingest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/ingest/admission.h"
#include "worker/ingest/assignment.h"
#include "worker/ingest/dead_letter_writer.h"
#include "worker/ingest/reread.h"
#include "worker/kafka/consumer.h"
#include "worker/kafka/properties.h"

enum {
    HOLD_BACK_MS = 200, /* a fullness so short is waited out */
    EVENTS_A_TURN = 500,
    FIGURES_MS = 500,        /* between snapshots of the partitions */
    CONFIG_MS = 5000,        /* between looks at KAFKA_CONFIG_FILE */
    LEAVE_MS = 5000,         /* for leaving the group when it has changed */
    MEMBER_MS = 20000,       /* four of the consumer's looks at its group */
    ERROR_REPEAT_MS = 60000, /* the same error of Kafka is logged so often */
    ERRORS_REMEMBERED = 8,
};

struct seen_error {
    const char *code; /* librdkafka's own text, which lives for ever */
    int64_t ms;
};

struct ingest {
    const struct settings *settings;
    struct service_metrics *metrics;
    struct consumer *consumer;
    struct intake *intake;
    struct dead_letter_writer *writer;
    struct reread *reread;
    struct assignment *assignment;
    struct admission admission;
    size_t pending;    /* events that have not ended */
    bool assigned;     /* by the group, since it was joined last */
    bool closed;       /* takes no more events */
    bool more_events;  /* the consumer has more than was taken this turn */
    struct error *err; /* of the turn */
    bool broken;       /* err is set: it cannot go on */
    int64_t full_ms;   /* since when admission is full */
    int64_t metrics_report_ms;
    struct seen_error seen[ERRORS_REMEMBERED];

    uint64_t config_digest; /* of KAFKA_CONFIG_FILE, as it is in use or was refused */
    int64_t config_ms;      /* when it was read last */
    bool renewing;          /* the consumer is leaving, for another one */
    int64_t renew_until_ms;
};

/* ---- events that end ---- */

static void give_up(struct ingest *f, enum error_kind kind, const char *why)
{
    if (!f->broken)
        (void)error_set(f->err, kind, "%s", why);
    f->broken = true;
}

static void give_back_memory(struct ingest *f, const struct pending_event *event)
{
    if (event->bytes > 0)
        admission_give(&f->admission, 1, event->bytes);
}

/* Its memory has been given back. */
static void close_event(struct ingest *f, struct pending_event *event)
{
    assignment_end(f->assignment, event->partition, event->epoch, event->offset);
    f->pending--;
    pending_event_free(event);
}

/* A letter that finds no room waits without its record. */
static void bury(struct ingest *f, struct pending_event *event)
{
    if (event->body && dead_letter_writer_has_room(f->writer)) {
        dead_letter_writer_add(f->writer, event);
        return;
    }
    (void)pending_event_drop_body(event);
    reread_add(f->reread, event);
}

/* Nobody waits for it any more where its partition has been given up since. */
static void take_unread(struct ingest *f, struct pending_event *event)
{
    if (assignment_is_open(f->assignment, event->partition, event->epoch, event->offset)) {
        reread_add(f->reread, event);
        return;
    }
    f->metrics->events_dropped++;
    close_event(f, event);
}

static void take_end(struct ingest *f, struct pending_event *event)
{
    give_back_memory(f, event);
    switch (event->state) {
    case PENDING_EVENT_DONE:
        f->metrics->events_done++;
        break;
    case PENDING_EVENT_IGNORED:
        f->metrics->events_ignored++;
        break;
    case PENDING_EVENT_DROPPED:
        f->metrics->events_dropped++;
        break;
    case PENDING_EVENT_UNREAD:
        take_unread(f, event);
        return;
    case PENDING_EVENT_DEAD_LETTER_DUE:
        f->metrics->events_dead++;
        bury(f, event);
        return;
    case PENDING_EVENT_NEW:
    case PENDING_EVENT_DEAD_LETTERED:
        assert(false && "intake gives no such event back");
        break;
    }
    close_event(f, event);
}

static void take_ends(struct ingest *f)
{
    struct intake_output out = intake_collect(f->intake);
    struct pending_event_list dead_lettered = { 0 };

    admission_give(&f->admission, out.released_events, out.released_bytes);
    for (struct pending_event *event; (event = pending_event_pop(&out.events));)
        take_end(f, event);
    dead_letter_writer_turn(f->writer, &dead_lettered);
    intake_submit(f->intake, &dead_lettered);
}

/* ---- events that are read again ---- */

/* Its row is lost, or was never written, and its record is gone: nothing is left to be done. */
static void close_lost(struct ingest *f, struct pending_event *event)
{
    f->metrics->events_lost++;
    log_error("event_lost", LOG_INT("partition", event->partition),
              LOG_INT("offset", event->offset));
    close_event(f, event);
}

static void take_reread(struct ingest *f)
{
    struct pending_event_list read = { 0 };

    for (int i = 0; i < EVENTS_A_TURN; i++) {
        const struct reread_room room = { .unread = !f->admission.full && !f->closed,
                                          .letters = dead_letter_writer_has_room(f->writer) };
        struct pending_event *event = reread_next(f->reread, room);

        if (!event)
            break;
        if (event->state == PENDING_EVENT_DEAD_LETTER_DUE)
            dead_letter_writer_add(f->writer, event);
        else if (event->state == PENDING_EVENT_NEW) {
            admission_take(&f->admission, event->bytes);
            pending_event_push(&read, event);
        } else
            close_lost(f, event);
    }
    intake_submit(f->intake, &read);
}

/* ---- events that come ---- */

static void open_one(struct ingest *f, const struct record *record, int64_t epoch,
                     struct pending_event_list *opened)
{
    struct pending_event *event = NULL;
    struct error why = ERROR_INIT;

    switch (pending_event_new(record, epoch, &event, &why)) {
    case EVENT_TOMBSTONE:
        f->metrics->events_tombstone++;
        assignment_end(f->assignment, record->partition, epoch, record->offset);
        return;
    case EVENT_INVALID:
        f->metrics->events_invalid++;
        log_warn("event_invalid", LOG_INT("partition", record->partition),
                 LOG_INT("offset", record->offset), LOG_ERROR_OF(&why));
        break;
    case EVENT_NO_MEMORY:
        give_up(f, ERROR_FATAL, "out of memory while taking an event");
        return;
    case EVENT_VALID:
        break;
    }
    f->pending++;
    admission_take(&f->admission, event->bytes);
    pending_event_push(opened, event);
}

/* What is still pending of that partition is the business of its next owner, or epoch. */
static void drop_pending(struct ingest *f, int32_t partition)
{
    struct pending_event_list dropped = { 0 };

    intake_drop(f->intake, partition);
    reread_drop(f->reread, partition, &dropped);
    for (struct pending_event *event; (event = pending_event_pop(&dropped));)
        take_end(f, event);
}

/* An epoch of its own: what was open before is delivered again, or is there no more. */
static void begin_again(struct ingest *f, const struct record *record,
                        struct pending_event_list *opened)
{
    f->metrics->rewinds++;
    log_warn("partition_rewound", LOG_INT("partition", record->partition),
             LOG_INT("offset", record->offset));
    intake_submit(f->intake, opened);
    drop_pending(f, record->partition);
}

/* A partition goes on there; was anything deleted before it was read? */
static void count_deleted(struct ingest *f, int32_t partition, int64_t offset)
{
    int64_t from;

    if (!assignment_take_gap(f->assignment, partition, offset, &from))
        return;
    f->metrics->events_deleted += offset - from;
    log_error("events_deleted_unread", LOG_INT("partition", partition), LOG_INT("from", from),
              LOG_INT("to", offset));
}

static void take_message(struct ingest *f, const struct record *record,
                         struct pending_event_list *opened)
{
    int64_t epoch = -1;

    if (f->closed) { /* it stays where it is, for the next owner */
        assignment_pause(f->assignment, f->consumer, record->partition);
        return;
    }
    f->metrics->events_received++;
    count_deleted(f, record->partition, record->offset);
    switch (assignment_deliver(f->assignment, record->partition, record->offset, &epoch)) {
    case OFFSETS_REWOUND:
        begin_again(f, record, opened);
        open_one(f, record, epoch, opened);
        break;
    case OFFSETS_OPENED:
        open_one(f, record, epoch, opened);
        break;
    case OFFSETS_NOT_OURS:
        f->metrics->events_duplicate++;
        break;
    case OFFSETS_NO_MEMORY:
        give_up(f, ERROR_FATAL, "out of memory while taking an event");
        break;
    }
    if (f->admission.full || assignment_is_full(f->assignment, record->partition))
        assignment_pause(f->assignment, f->consumer, record->partition);
}

/* ---- the group ---- */

static void take_assignment(struct ingest *f, const struct consumer_event *event)
{
    struct error err = ERROR_INIT;

    f->assigned = true;
    f->metrics->rebalances_assigned++;
    assignment_log("partitions_assigned", event);
    if (!assignment_add(f->assignment, event))
        give_up(f, ERROR_FATAL, "out of memory while taking partitions");
    else if (!consumer_accept(f->consumer, event, &err))
        log_warn("assignment_refused", LOG_ERROR_OF(&err));
}

/* What has ended is stored first, then the partitions are gone at once; no run is touched. */
static void let_go(struct ingest *f, const struct consumer_event *event)
{
    struct error err = ERROR_INIT;

    if (event->kind == CONSUMER_REVOKED) {
        f->metrics->rebalances_revoked++;
        take_ends(f);
        assignment_store(f->assignment, f->consumer);
        assignment_log("partitions_revoked", event);
    } else {
        f->metrics->rebalances_lost++;
        f->assigned = false;
        assignment_log("partitions_lost", event);
    }
    if (!consumer_unassign(f->consumer, event, &err))
        log_warn("revocation_refused", LOG_ERROR_OF(&err));
    assignment_remove(f->assignment, event);
    for (size_t i = 0; i < event->partitions_n; i++)
        drop_pending(f, consumer_event_partition(event, i).partition);
}

/* True when that error was not logged of late. */
static bool is_news(struct ingest *f, const char *code)
{
    struct seen_error *oldest = &f->seen[0];
    int64_t now_ms = clock_ms();

    for (size_t i = 0; i < ERRORS_REMEMBERED; i++) {
        struct seen_error *seen = &f->seen[i];
        if (seen->code && strcmp(seen->code, code) == 0) {
            bool news = now_ms - seen->ms >= ERROR_REPEAT_MS;
            if (news)
                seen->ms = now_ms;
            return news;
        }
        if (!seen->code || (oldest->code && seen->ms < oldest->ms))
            oldest = seen;
    }
    *oldest = (struct seen_error){ .code = code, .ms = now_ms };
    return true;
}

static void take_error(struct ingest *f, const struct consumer_error *error)
{
    f->metrics->kafka_errors++;
    f->metrics->commit_errors += error->of_commit;
    if (is_news(f, error->code))
        log_at(error->passing ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "kafka_error",
               LOG_STR("code", error->code), LOG_STR("reason", error->text),
               LOG_STR("hint", error->hint));
    if (error->fatal)
        give_up(f, ERROR_FATAL, error->text);
}

static void take_consumer_event(struct ingest *f, const struct consumer_event *event,
                                struct pending_event_list *opened)
{
    switch (event->kind) {
    case CONSUMER_MESSAGE:
        take_message(f, &event->record, opened);
        break;
    case CONSUMER_ASSIGNED:
        take_assignment(f, event);
        break;
    case CONSUMER_REVOKED:
    case CONSUMER_LOST:
        intake_submit(f->intake, opened); /* before they are dropped there */
        let_go(f, event);
        break;
    case CONSUMER_RESET:
        assignment_note_reset(f->assignment, event->partition, event->offset);
        break;
    case CONSUMER_END:
        if (f->closed) /* messages may have been left out since */
            break;
        count_deleted(f, event->partition, event->offset);
        assignment_reached(f->assignment, event->partition, event->offset);
        break;
    case CONSUMER_COMMITTED:
        f->metrics->commits++;
        assignment_committed(f->assignment, event);
        break;
    case CONSUMER_ERROR:
        take_error(f, &event->error);
        break;
    case CONSUMER_NONE:
        break;
    }
}

/*
 * A short fullness is waited out: pausing throws away what librdkafka has
 * fetched ahead. A longer one is met by pausing, since the group wants polls.
 */
static bool holds_back(const struct ingest *f)
{
    return f->admission.full && clock_ms() - f->full_ms < HOLD_BACK_MS;
}

static void take_events(struct ingest *f)
{
    struct pending_event_list opened = { 0 };
    struct consumer_event event = { .kind = CONSUMER_NONE };

    f->more_events = !holds_back(f);
    for (int i = 0; i < EVENTS_A_TURN && f->more_events; i++) {
        bool was_full = f->admission.full;
        consumer_next(f->consumer, &event);
        if (event.kind == CONSUMER_NONE) {
            f->more_events = false;
            break;
        }
        take_consumer_event(f, &event, &opened);
        consumer_done(f->consumer, &event);
        if (f->admission.full && !was_full) {
            f->full_ms = clock_ms();
            f->more_events = false;
        }
    }
    intake_submit(f->intake, &opened);
}

/* ---- another KAFKA_CONFIG_FILE ---- */

/* Where it cannot be read, it may be being replaced: it is as it was. */
static uint64_t read_digest(const struct ingest *f)
{
    CLEANUP(properties_release) struct properties properties = PROPERTIES_INIT;
    struct error ignored = ERROR_INIT;

    if (!properties_load(&properties, f->settings->kafka_config_file, &ignored))
        return f->config_digest;
    return properties_digest(&properties);
}

static bool config_has_changed(struct ingest *f)
{
    int64_t now_ms = clock_ms();
    struct error err = ERROR_INIT;

    if (!*f->settings->kafka_config_file || now_ms - f->config_ms < CONFIG_MS)
        return false;
    f->config_ms = now_ms;
    uint64_t digest = read_digest(f);
    if (digest == f->config_digest)
        return false;
    f->config_digest = digest;
    if (consumer_check(f->settings, &err))
        return true;
    log_error("kafka_config_refused", LOG_ERROR_OF(&err));
    return false;
}

static void begin_renewal(struct ingest *f)
{
    struct error err = ERROR_INIT;

    log_info("kafka_config_changed");
    dead_letter_writer_renew(f->writer);
    reread_renew(f->reread);
    f->renewing = true;
    f->renew_until_ms = clock_ms() + LEAVE_MS;
    if (!consumer_close(f->consumer, &err))
        log_warn("group_not_left", LOG_ERROR_OF(&err));
}

static void end_renewal(struct ingest *f)
{
    int32_t partition;

    while (assignment_take_any(f->assignment, &partition))
        drop_pending(f, partition);
    consumer_retire(f->consumer);
    f->assigned = f->renewing = false;
    f->consumer = consumer_new(f->settings, f->err);
    if (!f->consumer)
        f->broken = true; /* err says why */
}

/*
 * A changed file takes effect without a restart: this member leaves the group, and
 * a new one joins it. Runs go on; what is pending comes again.
 */
static void follow_config(struct ingest *f)
{
    if (f->closed || f->broken)
        return;
    if (!f->renewing && config_has_changed(f))
        begin_renewal(f);
    else if (f->renewing && (consumer_closed(f->consumer) || clock_ms() >= f->renew_until_ms))
        end_renewal(f);
}

/* ---- turning ---- */

size_t ingest_wait_for(const struct ingest *f, struct pollfd *fds)
{
    fds[0] = (struct pollfd){ .fd = intake_fd(f->intake), .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = dead_letter_writer_fd(f->writer), .events = POLLIN };
    fds[2] = (struct pollfd){ .fd = reread_fd(f->reread), .events = POLLIN };
    fds[3] =
        (struct pollfd){ .fd = holds_back(f) ? -1 : consumer_fd(f->consumer), .events = POLLIN };
    return INGEST_DESCRIPTORS;
}

bool ingest_has_more(const struct ingest *f)
{
    return f->more_events;
}

/* In the group: it has its part, and the client is still a member that works. */
static bool is_member(const struct ingest *f, int64_t now_ms)
{
    return f->assigned && now_ms - consumer_member_ms(f->consumer) < MEMBER_MS;
}

static void publish_metrics(struct ingest *f)
{
    int64_t now_ms = clock_ms();

    f->metrics->subscribed = is_member(f, now_ms);
    f->metrics->events_open = (long long)f->pending;
    f->metrics->events_open_bytes = (long long)f->admission.bytes;
    f->metrics->dead_letters_waiting = (long long)ingest_dead_letters(f);
    if (now_ms - f->metrics_report_ms < FIGURES_MS)
        return;
    f->metrics_report_ms = now_ms;
    assignment_publish(f->assignment, f->consumer, f->metrics);
}

bool ingest_turn(struct ingest *f, struct error *err)
{
    f->err = err;
    take_ends(f);
    take_reread(f);
    take_events(f);
    assignment_store(f->assignment, f->consumer);
    if (!f->admission.full && !f->closed)
        assignment_resume(f->assignment, f->consumer);
    publish_metrics(f);
    follow_config(f);
    return !f->broken;
}

/* ---- beginning and end ---- */

void ingest_stop_intake(struct ingest *f)
{
    f->closed = true;
}

size_t ingest_open(const struct ingest *f)
{
    return f->pending;
}

size_t ingest_dead_letters(const struct ingest *f)
{
    return dead_letter_writer_n(f->writer) + reread_letters(f->reread);
}

bool ingest_leave(struct ingest *f, struct error *err)
{
    return f->renewing || consumer_close(f->consumer, err);
}

bool ingest_has_left(struct ingest *f)
{
    return !f->consumer || consumer_closed(f->consumer);
}

static bool open_all(struct ingest *f, const struct settings *settings,
                     const struct intake_ports *ports, struct error *err)
{
    f->assignment = assignment_new(f->metrics);
    if (!f->assignment)
        return error_no_memory(err);
    f->reread = reread_new(settings);
    if (!f->reread)
        return error_no_memory(err);
    f->writer = dead_letter_writer_new(settings, f->metrics, err);
    if (!f->writer)
        return false;
    f->intake = intake_start(ports, f->metrics, err);
    if (!f->intake)
        return false;
    f->consumer = consumer_new(settings, err);
    return f->consumer != NULL;
}

struct ingest *ingest_new(const struct settings *settings, const struct intake_ports *ports,
                          struct service_metrics *metrics, struct error *err)
{
    struct ingest *f = calloc(1, sizeof *f);

    if (!f) {
        (void)error_no_memory(err);
        return NULL;
    }
    f->settings = settings;
    f->metrics = metrics;
    f->config_digest = read_digest(f);
    if (!open_all(f, settings, ports, err)) {
        ingest_free(f);
        return NULL;
    }
    return f;
}

void ingest_free(struct ingest *f)
{
    if (!f)
        return;
    consumer_free(f->consumer);
    intake_free(f->intake);
    reread_free(f->reread);
    dead_letter_writer_free(f->writer);
    assignment_free(f->assignment);
    free(f);
}
