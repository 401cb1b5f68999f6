#include "worker/ingest/dead_letter_writer.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/retry.h"
#include "worker/ingest/dead_letter.h"
#include "worker/kafka/producer.h"

enum {
    HELD_MAX = 100,                   /* letters; one is some 2 KiB */
    HELD_BYTES_MAX = 4 * 1024 * 1024, /* of their records; librdkafka holds a copy */
    BACK_OFF_MIN_MS = 200,
    LATE_MS = 5000, /* without an answer the broker counts as unreachable */
    WAITING_REPEAT_MS = 60 * 1000,
};

struct dead_letter_writer {
    const char *topic, *source_topic;
    struct service_metrics *metrics;
    struct producer *producer;
    struct pending_event_list due;       /* to be handed to the producer */
    struct pending_event_list in_flight; /* handed over, no report yet */
    size_t held_bytes;
    int64_t heard_ms;  /* when the broker answered last, or the wait for it began */
    unsigned attempts; /* in vain, in a row */
    int64_t not_before_ms;
    int64_t logged_ms; /* 0: nothing has failed since the last success */
};

struct dead_letter_writer *dead_letter_writer_new(const struct settings *settings,
                                                  struct service_metrics *metrics,
                                                  struct error *err)
{
    struct dead_letter_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        (void)error_no_memory(err);
        return NULL;
    }
    writer->topic = settings->kafka_dead_letter_topic;
    writer->source_topic = settings->kafka_topic;
    writer->metrics = metrics;
    writer->producer = producer_new(settings, err);
    if (!writer->producer) {
        dead_letter_writer_free(writer);
        return NULL;
    }
    return writer;
}

void dead_letter_writer_free(struct dead_letter_writer *writer)
{
    if (!writer)
        return;
    producer_free(writer->producer);
    pending_event_list_clear(&writer->due);
    pending_event_list_clear(&writer->in_flight);
    free(writer);
}

int dead_letter_writer_fd(const struct dead_letter_writer *writer)
{
    return producer_fd(writer->producer);
}

size_t dead_letter_writer_n(const struct dead_letter_writer *writer)
{
    return writer->due.n + writer->in_flight.n;
}

bool dead_letter_writer_has_room(const struct dead_letter_writer *writer)
{
    return dead_letter_writer_n(writer) < HELD_MAX && writer->held_bytes < HELD_BYTES_MAX;
}

void dead_letter_writer_add(struct dead_letter_writer *writer, struct pending_event *event)
{
    assert(event->state == PENDING_EVENT_DEAD_LETTER_DUE && event->death);
    writer->held_bytes += event->bytes;
    pending_event_push(&writer->due, event);
}

static const struct retry_policy policy = { .base_ms = 400, .cap_ms = 10000 };

static void back_off(struct dead_letter_writer *writer)
{
    writer->attempts++;
    writer->not_before_ms =
        clock_ms() + retry_wait_ms(policy, writer->attempts, randombytes_random(), BACK_OFF_MIN_MS);
}

/* Logged as an error at the first failure, then once a minute while none succeeds. */
static void log_waiting(struct dead_letter_writer *writer, const char *why)
{
    int64_t now_ms = clock_ms();

    if (writer->logged_ms > 0 && now_ms - writer->logged_ms < WAITING_REPEAT_MS)
        return;
    writer->logged_ms = now_ms;
    log_error("dead_letters_waiting", LOG_STR("topic", writer->topic),
              LOG_INT("count", writer->metrics->dead_letters_waiting), LOG_STR("error", why));
}

static void failed(struct dead_letter_writer *writer, const struct pending_event *event,
                   const char *why)
{
    writer->metrics->dead_letter_retries++;
    log_warn("dead_letter_not_written", LOG_STR("topic", writer->topic),
             LOG_INT("partition", event->partition), LOG_INT("offset", event->offset),
             LOG_STR("error", why));
    log_waiting(writer, why);
    back_off(writer);
}

static void forget_failures(struct dead_letter_writer *writer)
{
    writer->attempts = 0;
    writer->not_before_ms = 0;
    writer->logged_ms = 0;
}

/* What failed is the next owner's; it says nothing of letters that come later. */
static void forget_if_empty(struct dead_letter_writer *writer)
{
    if (dead_letter_writer_n(writer) == 0)
        forget_failures(writer);
}

static void put_out(struct dead_letter_writer *writer, struct pending_event *event,
                    enum pending_event_state state, struct pending_event_list *out)
{
    event->state = state;
    writer->held_bytes -= pending_event_drop_body(event);
    pending_event_push(out, event);
}

static void acknowledged(struct dead_letter_writer *writer, struct pending_event *event,
                         struct pending_event_list *out)
{
    const struct pending_event_death *death = event->death;
    bool has_value = event->body && death->form == DEAD_LETTER_WHOLE;
    bool has_headers = event->body && death->form != DEAD_LETTER_WITHOUT_HEADERS;

    forget_failures(writer);
    writer->metrics->dead_letters_without_value += !has_value;
    service_metrics_count_dead_letter(writer->metrics, death->reason);
    log_warn("dead_letter_written", LOG_STR("reason", death->reason),
             LOG_INT("partition", event->partition), LOG_INT("offset", event->offset),
             LOG_INT("request", event->request_id), LOG_STR("exports", death->exports),
             LOG_INT("without_value", !has_value), LOG_INT("without_headers", !has_headers),
             LOG_STR("trace", death->traceparent));
    put_out(writer, event, PENDING_EVENT_DEAD_LETTERED, out);
}

static void unlink_in_flight(struct dead_letter_writer *writer, const struct pending_event *event)
{
    struct pending_event_list kept = { 0 };

    for (struct pending_event *other; (other = pending_event_pop(&writer->in_flight));)
        if (other != event)
            pending_event_push(&kept, other);
    writer->in_flight = kept;
}

/* Too large as it was: less of it goes. */
static void shrink(struct dead_letter_writer *writer, struct pending_event *event, const char *why)
{
    struct pending_event_death *death = event->death;

    if (event->body && death->form != DEAD_LETTER_WITHOUT_HEADERS)
        death->form++;
    else /* our own headers alone are too large: the broker's limit must be raised */
        failed(writer, event, why);
}

static void take_report(struct dead_letter_writer *writer, const struct producer_report *report,
                        struct pending_event_list *out)
{
    struct pending_event *event = report->tag;

    writer->heard_ms = clock_ms();
    unlink_in_flight(writer, event);
    if (event->given_up && report->outcome != PRODUCER_DELIVERED) {
        put_out(writer, event, PENDING_EVENT_DROPPED, out);
        forget_if_empty(writer);
        return;
    }
    switch (report->outcome) {
    case PRODUCER_DELIVERED:
        acknowledged(writer, event, out);
        return;
    case PRODUCER_TOO_LARGE:
        shrink(writer, event, report->text);
        break;
    case PRODUCER_FAILED:
        failed(writer, event, report->text);
        break;
    }
    pending_event_push(&writer->due, event);
}

/* False: not now. */
static bool hand_over(struct dead_letter_writer *writer, struct pending_event *event)
{
    const struct record lost = { .topic = writer->source_topic,
                                 .partition = event->partition,
                                 .offset = event->offset,
                                 .timestamp_ms = event->timestamp_ms };
    const struct pending_event_death *death = event->death;
    const struct dead_letter letter = {
        .record = event->body ? event->body->record : &lost,
        .reason = death->reason,
        .message = death->detail ? death->detail : "",
        .exports = death->exports,
        .run_id = death->run_id,
    };
    CLEANUP(record_freep) struct record *record = dead_letter_build(&letter, death->form);
    struct error err = ERROR_INIT;

    if (!record)
        (void)error_no_memory(&err);
    else if (producer_produce(writer->producer, writer->topic, record, event, &err))
        return true;
    failed(writer, event, err.text);
    return false;
}

static void take_reports(struct dead_letter_writer *writer, struct pending_event_list *out)
{
    struct producer_report report;

    while (producer_next(writer->producer, &report))
        take_report(writer, &report, out);
    if (writer->in_flight.first && clock_ms() - writer->heard_ms >= LATE_MS)
        log_waiting(writer, "no broker has acknowledged them yet");
}

static void hand_over_all(struct dead_letter_writer *writer)
{
    while (writer->due.first && hand_over(writer, writer->due.first)) {
        if (!writer->in_flight.first)
            writer->heard_ms = clock_ms();
        pending_event_push(&writer->in_flight, pending_event_pop(&writer->due));
    }
}

void dead_letter_writer_turn(struct dead_letter_writer *writer, struct pending_event_list *out)
{
    take_reports(writer, out);
    if (clock_ms() >= writer->not_before_ms)
        hand_over_all(writer);
}

/* Its next owner gets it again. One without a record has lost it for everybody. */
static bool is_handed_on(const struct pending_event *event, int32_t partition, int64_t epoch)
{
    return event->partition == partition && event->epoch == epoch && event->body;
}

static void drop_due(struct dead_letter_writer *writer, int32_t partition, int64_t epoch,
                     struct pending_event_list *dropped)
{
    struct pending_event_list kept = { 0 };

    for (struct pending_event *event; (event = pending_event_pop(&writer->due));)
        if (is_handed_on(event, partition, epoch))
            put_out(writer, event, PENDING_EVENT_DROPPED, dropped);
        else
            pending_event_push(&kept, event);
    writer->due = kept;
}

/* False: none of them is in flight. */
static bool give_up_in_flight(struct dead_letter_writer *writer, int32_t partition, int64_t epoch)
{
    bool any = false;

    for (struct pending_event *event = writer->in_flight.first; event; event = event->next)
        if (is_handed_on(event, partition, epoch))
            any = event->given_up = true;
    return any;
}

void dead_letter_writer_drop(struct dead_letter_writer *writer, int32_t partition, int64_t epoch,
                             struct pending_event_list *dropped)
{
    drop_due(writer, partition, epoch, dropped);
    if (give_up_in_flight(writer, partition, epoch) && writer->logged_ms > 0)
        producer_renew(writer->producer);
    forget_if_empty(writer);
}

bool dead_letter_writer_adopt(struct dead_letter_writer *writer, const struct pending_event *again)
{
    return pending_event_list_adopt(&writer->in_flight, again) ||
           pending_event_list_adopt(&writer->due, again);
}

void dead_letter_writer_renew(struct dead_letter_writer *writer)
{
    producer_renew(writer->producer);
    writer->attempts = 0;
    writer->not_before_ms = 0;
}
