#include "worker/ingest/ingest.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/ingest/admission.h"
#include "worker/ingest/assignment.h"
#include "worker/ingest/config_watch.h"
#include "worker/ingest/dead_letter_writer.h"
#include "worker/ingest/error_log.h"
#include "worker/ingest/reread.h"
#include "worker/kafka/consumer.h"

enum {
    HOLD_BACK_MS = 200, /* a full admission is waited out for this long */
    EVENTS_A_TURN = 500,
    SNAPSHOT_INTERVAL_MS = 500, /* between snapshots of the partitions */
    LEAVE_MS = 5000,            /* for leaving the group when KAFKA_CONFIG_FILE has changed */
    RENEW_AGAIN_MS = 5000,      /* as often as config_watch looks at the file */
    MEMBER_MS = 20000,          /* four of the consumer's checks of its group */
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
    bool broken;       /* err is set: it cannot continue */
    int64_t full_ms;   /* since when admission is full */
    int64_t published_ms;
    struct error_log error_log;

    struct config_watch config;
    bool renewing;                         /* the consumer is leaving, for another one */
    int64_t renew_from_ms, renew_until_ms; /* when the other one may, and must be made */
};

/* ---- events that end ---- */

static void give_up(struct ingest *ingest, enum error_kind kind, const char *why)
{
    if (!ingest->broken)
        (void)error_set(ingest->err, kind, "%s", why);
    ingest->broken = true;
}

static void give_back_memory(struct ingest *ingest, const struct pending_event *event)
{
    if (event->bytes > 0)
        admission_give(&ingest->admission, 1, event->bytes);
}

/* Its memory has been given back. */
static void close_event(struct ingest *ingest, struct pending_event *event)
{
    assignment_end(ingest->assignment, event->partition, event->epoch, event->offset);
    ingest->pending--;
    pending_event_free(event);
}

/* A dead letter that finds no room waits without its record. */
static void queue_dead_letter(struct ingest *ingest, struct pending_event *event)
{
    if (event->body && dead_letter_writer_has_room(ingest->writer)) {
        dead_letter_writer_add(ingest->writer, event);
        return;
    }
    (void)pending_event_drop_body(event);
    reread_add(ingest->reread, event);
}

/* Another owner's, or of another epoch: what is to be done is done there. */
static bool was_given_up(const struct ingest *ingest, const struct pending_event *event)
{
    return !assignment_is_open(ingest->assignment, event->partition, event->epoch, event->offset);
}

static void drop_event(struct ingest *ingest, struct pending_event *event)
{
    ingest->metrics->events_dropped++;
    close_event(ingest, event);
}

/* Another event of the same record, of an epoch before, stands for this one, too. */
static void forget_twin(struct ingest *ingest, struct pending_event *event)
{
    ingest->pending--;
    pending_event_free(event);
}

/* Its letter is held already. */
static bool is_held(struct ingest *ingest, struct pending_event *event)
{
    if (!dead_letter_writer_adopt(ingest->writer, event) && !reread_adopt(ingest->reread, event))
        return false;
    forget_twin(ingest, event);
    return true;
}

static void take_dead_letter(struct ingest *ingest, struct pending_event *event)
{
    if (was_given_up(ingest, event)) {
        drop_event(ingest, event);
        return;
    }
    if (is_held(ingest, event))
        return;
    ingest->metrics->events_dead++;
    queue_dead_letter(ingest, event);
}

static void handle_end(struct ingest *ingest, struct pending_event *event)
{
    give_back_memory(ingest, event);
    switch (event->state) {
    case PENDING_EVENT_DONE:
        ingest->metrics->events_done++;
        break;
    case PENDING_EVENT_IGNORED:
        ingest->metrics->events_ignored++;
        break;
    case PENDING_EVENT_DROPPED:
        drop_event(ingest, event);
        return;
    case PENDING_EVENT_TWIN:
        forget_twin(ingest, event);
        return;
    case PENDING_EVENT_UNREAD:
        if (was_given_up(ingest, event))
            drop_event(ingest, event);
        else
            reread_add(ingest->reread, event);
        return;
    case PENDING_EVENT_DEAD_LETTER_DUE:
        take_dead_letter(ingest, event);
        return;
    case PENDING_EVENT_NEW:
    case PENDING_EVENT_DEAD_LETTERED:
        assert(false && "intake gives no such event back");
        break;
    }
    close_event(ingest, event);
}

/* Letters that are acknowledged are marked; others are their next owner's. */
static void turn_writer(struct ingest *ingest)
{
    struct pending_event_list out = { 0 }, dead_lettered = { 0 };

    dead_letter_writer_turn(ingest->writer, &out);
    for (struct pending_event *event; (event = pending_event_pop(&out));) {
        if (event->state == PENDING_EVENT_DROPPED)
            handle_end(ingest, event);
        else
            pending_event_push(&dead_lettered, event);
    }
    intake_submit(ingest->intake, &dead_lettered);
}

static void handle_ends(struct ingest *ingest)
{
    struct intake_output out = intake_collect(ingest->intake);

    admission_give(&ingest->admission, out.released_events, out.released_bytes);
    for (struct pending_event *event; (event = pending_event_pop(&out.events));)
        handle_end(ingest, event);
    turn_writer(ingest);
}

/* ---- events that are read again ---- */

/* Its row is lost, or was never written, and its record is gone: nothing more can be done. */
static void close_lost(struct ingest *ingest, struct pending_event *event)
{
    ingest->metrics->events_lost++;
    log_error("event_lost", LOG_INT("partition", event->partition),
              LOG_INT("offset", event->offset));
    close_event(ingest, event);
}

static void continue_reread(struct ingest *ingest)
{
    struct pending_event_list read = { 0 };

    for (int i = 0; i < EVENTS_A_TURN; i++) {
        const struct reread_room room = { .unread = !ingest->admission.full && !ingest->closed,
                                          .letters = dead_letter_writer_has_room(ingest->writer) };
        struct pending_event *event = reread_next(ingest->reread, room);

        if (!event)
            break;
        if (event->state == PENDING_EVENT_DEAD_LETTER_DUE)
            dead_letter_writer_add(ingest->writer, event);
        else if (event->state == PENDING_EVENT_NEW) {
            admission_take(&ingest->admission, event->bytes);
            pending_event_push(&read, event);
        } else
            close_lost(ingest, event);
    }
    intake_submit(ingest->intake, &read);
}

/* ---- events that come ---- */

static void open_one(struct ingest *ingest, const struct record *record, int64_t epoch,
                     struct pending_event_list *opened)
{
    struct pending_event *event = NULL;
    struct error why = ERROR_INIT;

    switch (pending_event_new(record, epoch, &event, &why)) {
    case EVENT_TOMBSTONE:
        ingest->metrics->events_tombstone++;
        assignment_end(ingest->assignment, record->partition, epoch, record->offset);
        return;
    case EVENT_INVALID:
        ingest->metrics->events_invalid++;
        log_warn("event_invalid", LOG_INT("partition", record->partition),
                 LOG_INT("offset", record->offset), LOG_ERROR_OF(&why));
        break;
    case EVENT_NO_MEMORY:
        give_up(ingest, ERROR_FATAL, "out of memory while taking an event");
        return;
    case EVENT_VALID:
        break;
    }
    ingest->pending++;
    admission_take(&ingest->admission, event->bytes);
    pending_event_push(opened, event);
}

static void handle_dropped(struct ingest *ingest, struct pending_event_list *dropped)
{
    for (struct pending_event *event; (event = pending_event_pop(dropped));)
        handle_end(ingest, event);
}

/*
 * What is still pending of that partition is the business of its next owner, or epoch. But the
 * records of letters may be gone from Kafka: they are kept, as nobody else may write them.
 */
static void drop_pending(struct ingest *ingest, int32_t partition)
{
    struct pending_event_list dropped = { 0 };

    intake_drop(ingest->intake, partition);
    reread_drop(ingest->reread, partition, &dropped);
    handle_dropped(ingest, &dropped);
}

/*
 * The same where the group has the partition still: its records come again, so its letters go,
 * too. Those kept of an epoch before are of records that may be gone.
 */
static void hand_on(struct ingest *ingest, int32_t partition, int64_t epoch)
{
    struct pending_event_list dropped = { 0 };

    reread_drop_letters(ingest->reread, partition, epoch, &dropped);
    dead_letter_writer_drop(ingest->writer, partition, epoch, &dropped);
    handle_dropped(ingest, &dropped);
    drop_pending(ingest, partition);
}

/* An epoch of its own: what was open before is delivered again, or is gone. */
static void begin_again(struct ingest *ingest, const struct record *record,
                        struct pending_event_list *opened)
{
    ingest->metrics->rewinds++;
    log_warn("partition_rewound", LOG_INT("partition", record->partition),
             LOG_INT("offset", record->offset));
    intake_submit(ingest->intake, opened);
    drop_pending(ingest, record->partition);
}

/* A partition continues there; was anything deleted before it was read? */
static void count_deleted(struct ingest *ingest, int32_t partition, int64_t offset)
{
    int64_t from;

    if (!assignment_take_gap(ingest->assignment, partition, offset, &from))
        return;
    ingest->metrics->events_deleted += offset - from;
    log_error("events_deleted_unread", LOG_INT("partition", partition), LOG_INT("from", from),
              LOG_INT("to", offset));
}

static void handle_message(struct ingest *ingest, const struct record *record,
                           struct pending_event_list *opened)
{
    int64_t epoch = -1;

    if (ingest->closed) { /* it stays where it is, for the next owner */
        assignment_pause(ingest->assignment, ingest->consumer, record->partition);
        return;
    }
    ingest->metrics->events_received++;
    count_deleted(ingest, record->partition, record->offset);
    switch (assignment_deliver(ingest->assignment, record->partition, record->offset, &epoch)) {
    case OFFSETS_REWOUND:
        begin_again(ingest, record, opened);
        open_one(ingest, record, epoch, opened);
        break;
    case OFFSETS_OPENED:
        open_one(ingest, record, epoch, opened);
        break;
    case OFFSETS_NOT_OURS:
        ingest->metrics->events_duplicate++;
        break;
    case OFFSETS_NO_MEMORY:
        give_up(ingest, ERROR_FATAL, "out of memory while taking an event");
        break;
    }
    if (ingest->admission.full || assignment_is_full(ingest->assignment, record->partition))
        assignment_pause(ingest->assignment, ingest->consumer, record->partition);
}

/* ---- the group ---- */

static void accept_assignment(struct ingest *ingest, const struct consumer_event *event)
{
    struct error err = ERROR_INIT;

    ingest->assigned = true;
    ingest->metrics->rebalances_assigned++;
    assignment_log("partitions_assigned", event);
    if (!assignment_add(ingest->assignment, event))
        give_up(ingest, ERROR_FATAL, "out of memory while taking partitions");
    else if (!consumer_accept(ingest->consumer, event, &err))
        log_warn("assignment_refused", LOG_ERROR_OF(&err));
}

/* Stores what has ended, then unassigns the partitions at once; no run is touched. */
static void unassign_partitions(struct ingest *ingest, const struct consumer_event *event)
{
    struct error err = ERROR_INIT;

    if (event->kind == CONSUMER_REVOKED) {
        ingest->metrics->rebalances_revoked++;
        handle_ends(ingest);
        assignment_store(ingest->assignment, ingest->consumer);
        assignment_log("partitions_revoked", event);
    } else {
        ingest->metrics->rebalances_lost++;
        ingest->assigned = false;
        assignment_log("partitions_lost", event);
    }
    if (!consumer_unassign(ingest->consumer, event, &err))
        log_warn("revocation_refused", LOG_ERROR_OF(&err));
    for (size_t i = 0; i < event->partitions_n; i++) {
        int32_t partition = consumer_event_partition(event, i).partition;
        int64_t epoch = assignment_remove(ingest->assignment, partition);

        if (event->kind == CONSUMER_REVOKED)
            hand_on(ingest, partition, epoch);
        else /* its topic may have been deleted */
            drop_pending(ingest, partition);
    }
}

static void handle_error(struct ingest *ingest, const struct consumer_error *error)
{
    ingest->metrics->kafka_errors++;
    ingest->metrics->commit_errors += error->of_commit;
    if (error_log_is_news(&ingest->error_log, error->code, clock_ms()))
        log_at(error->passing ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "kafka_error",
               LOG_STR("code", error->code), LOG_STR("reason", error->text),
               LOG_STR("hint", error->hint));
    if (error->fatal)
        give_up(ingest, ERROR_FATAL, error->text);
}

static void handle_consumer_event(struct ingest *ingest, const struct consumer_event *event,
                                  struct pending_event_list *opened)
{
    switch (event->kind) {
    case CONSUMER_MESSAGE:
        handle_message(ingest, &event->record, opened);
        break;
    case CONSUMER_ASSIGNED:
        accept_assignment(ingest, event);
        break;
    case CONSUMER_REVOKED:
    case CONSUMER_LOST:
        intake_submit(ingest->intake, opened); /* before they are dropped there */
        unassign_partitions(ingest, event);
        break;
    case CONSUMER_RESET:
        assignment_note_reset(ingest->assignment, event->partition, event->offset);
        break;
    case CONSUMER_END:
        if (ingest->closed) /* messages may have been left out since */
            break;
        count_deleted(ingest, event->partition, event->offset);
        assignment_reached(ingest->assignment, event->partition, event->offset);
        break;
    case CONSUMER_COMMITTED:
        ingest->metrics->commits++;
        assignment_committed(ingest->assignment, event);
        break;
    case CONSUMER_ERROR:
        handle_error(ingest, &event->error);
        break;
    case CONSUMER_NONE:
        break;
    }
}

/*
 * While admission is full for a short time we wait: pausing throws away what librdkafka
 * has fetched ahead. If it lasts longer we pause, since the group requires polls.
 */
static bool holds_back(const struct ingest *ingest)
{
    return ingest->admission.full && clock_ms() - ingest->full_ms < HOLD_BACK_MS;
}

static void poll_events(struct ingest *ingest)
{
    struct pending_event_list opened = { 0 };
    struct consumer_event event = { .kind = CONSUMER_NONE };

    ingest->more_events = !holds_back(ingest);
    for (int i = 0; i < EVENTS_A_TURN && ingest->more_events; i++) {
        bool was_full = ingest->admission.full;
        consumer_next(ingest->consumer, &event);
        if (event.kind == CONSUMER_NONE) {
            ingest->more_events = false;
            break;
        }
        handle_consumer_event(ingest, &event, &opened);
        consumer_done(ingest->consumer, &event);
        if (ingest->admission.full && !was_full) {
            ingest->full_ms = clock_ms();
            ingest->more_events = false;
        }
    }
    intake_submit(ingest->intake, &opened);
}

/* ---- another KAFKA_CONFIG_FILE ---- */

static bool config_has_changed(struct ingest *ingest)
{
    struct error err = ERROR_INIT;

    switch (config_watch_check(&ingest->config, clock_ms(), &err)) {
    case CONFIG_UNCHANGED:
        return false;
    case CONFIG_CHANGED:
        return true;
    case CONFIG_REFUSED:
        break;
    }
    log_error("kafka_config_refused", LOG_ERROR_OF(&err));
    return false;
}

static void begin_renewal(struct ingest *ingest)
{
    struct error err = ERROR_INIT;

    log_info("kafka_config_changed");
    ingest->metrics->kafka_config_changes++;
    dead_letter_writer_renew(ingest->writer);
    reread_renew(ingest->reread);
    ingest->renewing = true;
    ingest->renew_from_ms = clock_ms();
    ingest->renew_until_ms = ingest->renew_from_ms + LEAVE_MS;
    if (!consumer_close(ingest->consumer, &err))
        log_warn("group_not_left", LOG_ERROR_OF(&err));
}

static void end_renewal(struct ingest *ingest)
{
    struct error err = ERROR_INIT;
    int32_t partition;
    int64_t epoch;

    while (assignment_take_any(ingest->assignment, &partition, &epoch))
        hand_on(ingest, partition, epoch);
    ingest->assigned = false;
    struct consumer *next = consumer_new(ingest->settings, &err);
    if (!next) { /* the file has changed once more, or is being replaced */
        log_error("kafka_config_refused", LOG_ERROR_OF(&err));
        ingest->renew_from_ms = clock_ms() + RENEW_AGAIN_MS;
        return;
    }
    consumer_retire(ingest->consumer);
    ingest->consumer = next;
    ingest->renewing = false;
}

/* The group has been left, or leaving it takes too long. */
static bool may_end_renewal(const struct ingest *ingest, int64_t now_ms)
{
    return now_ms >= ingest->renew_from_ms &&
           (consumer_closed(ingest->consumer) || now_ms >= ingest->renew_until_ms);
}

/*
 * A changed file takes effect without a restart: this member leaves the group, and
 * a new one joins it. Runs continue; what is pending comes again.
 */
static void follow_config(struct ingest *ingest)
{
    if (ingest->closed || ingest->broken)
        return;
    if (!ingest->renewing && config_has_changed(ingest))
        begin_renewal(ingest);
    else if (ingest->renewing && may_end_renewal(ingest, clock_ms()))
        end_renewal(ingest);
}

/* ---- turning ---- */

size_t ingest_wait_for(const struct ingest *ingest, struct pollfd *fds)
{
    fds[0] = (struct pollfd){ .fd = intake_fd(ingest->intake), .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = dead_letter_writer_fd(ingest->writer), .events = POLLIN };
    fds[2] = (struct pollfd){ .fd = reread_fd(ingest->reread), .events = POLLIN };
    fds[3] = (struct pollfd){ .fd = holds_back(ingest) ? -1 : consumer_fd(ingest->consumer),
                              .events = POLLIN };
    return INGEST_DESCRIPTORS;
}

bool ingest_has_more(const struct ingest *ingest)
{
    return ingest->more_events;
}

/* In the group: partitions were assigned, and the client is still a working member. */
static bool is_member(const struct ingest *ingest, int64_t now_ms)
{
    return ingest->assigned && now_ms - consumer_member_ms(ingest->consumer) < MEMBER_MS;
}

static void publish_metrics(struct ingest *ingest)
{
    int64_t now_ms = clock_ms();

    ingest->metrics->subscribed = is_member(ingest, now_ms);
    ingest->metrics->events_open = (long long)ingest->pending;
    ingest->metrics->events_open_bytes = (long long)ingest->admission.bytes;
    ingest->metrics->dead_letters_waiting = (long long)ingest_dead_letters(ingest);
    if (now_ms - ingest->published_ms < SNAPSHOT_INTERVAL_MS)
        return;
    ingest->published_ms = now_ms;
    assignment_publish(ingest->assignment, ingest->consumer, ingest->metrics);
}

bool ingest_turn(struct ingest *ingest, struct error *err)
{
    ingest->err = err;
    handle_ends(ingest);
    continue_reread(ingest);
    poll_events(ingest);
    assignment_store(ingest->assignment, ingest->consumer);
    if (!ingest->admission.full && !ingest->closed)
        assignment_resume(ingest->assignment, ingest->consumer);
    publish_metrics(ingest);
    follow_config(ingest);
    return !ingest->broken;
}

/* ---- beginning and end ---- */

void ingest_stop_intake(struct ingest *ingest)
{
    ingest->closed = true;
    intake_hurry(ingest->intake);
}

size_t ingest_n_open(const struct ingest *ingest)
{
    return ingest->pending;
}

size_t ingest_dead_letters(const struct ingest *ingest)
{
    return dead_letter_writer_n(ingest->writer) + reread_letters(ingest->reread);
}

size_t ingest_unmarked(const struct ingest *ingest)
{
    return intake_unmarked(ingest->intake);
}

bool ingest_leave(struct ingest *ingest, struct error *err)
{
    return ingest->renewing || consumer_close(ingest->consumer, err);
}

bool ingest_has_left(struct ingest *ingest)
{
    return !ingest->consumer || consumer_closed(ingest->consumer);
}

static bool open_all(struct ingest *ingest, const struct settings *settings,
                     const struct intake_ports *ports, struct error *err)
{
    ingest->assignment = assignment_new(ingest->metrics);
    if (!ingest->assignment)
        return error_no_memory(err);
    ingest->reread = reread_new(settings);
    if (!ingest->reread)
        return error_no_memory(err);
    ingest->writer = dead_letter_writer_new(settings, ingest->metrics, err);
    if (!ingest->writer)
        return false;
    ingest->intake = intake_start(ports, ingest->metrics, err);
    if (!ingest->intake)
        return false;
    ingest->consumer = consumer_new(settings, err);
    return ingest->consumer != NULL;
}

struct ingest *ingest_new(const struct settings *settings, const struct intake_ports *ports,
                          struct service_metrics *metrics, struct error *err)
{
    struct ingest *ingest = calloc(1, sizeof *ingest);

    if (!ingest) {
        (void)error_no_memory(err);
        return NULL;
    }
    ingest->settings = settings;
    ingest->metrics = metrics;
    config_watch_init(&ingest->config, settings);
    if (!open_all(ingest, settings, ports, err)) {
        ingest_free(ingest);
        return NULL;
    }
    return ingest;
}

void ingest_free(struct ingest *ingest)
{
    if (!ingest)
        return;
    consumer_free(ingest->consumer);
    intake_free(ingest->intake);
    reread_free(ingest->reread);
    dead_letter_writer_free(ingest->writer);
    assignment_free(ingest->assignment);
    free(ingest);
}
