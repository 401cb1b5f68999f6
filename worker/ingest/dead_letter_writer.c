#include "worker/ingest/dead_letter_writer.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/ingest/dead_letter.h"
#include "worker/kafka/producer.h"

enum { FLYING_MAX = 100, BACK_OFF_MIN_MS = 200, BACK_OFF_MAX_MS = 10000 };

struct dead_letter_writer {
    const char *topic;
    struct service_metrics *metrics;
    struct producer *producer;
    struct pending_event_list due;       /* to be handed to the producer */
    struct pending_event_list in_flight; /* handed over, no report yet */
    int64_t back_off_ms, not_before_ms;
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
    for (struct pending_event *event; (event = pending_event_pop(&writer->due));)
        pending_event_free(event);
    for (struct pending_event *event; (event = pending_event_pop(&writer->in_flight));)
        pending_event_free(event);
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

void dead_letter_writer_add(struct dead_letter_writer *writer, struct pending_event *event)
{
    assert(event->state == PENDING_EVENT_DEAD_LETTER_DUE && event->reason);
    pending_event_push(&writer->due, event);
}

static void back_off(struct dead_letter_writer *writer)
{
    int64_t doubled = writer->back_off_ms * 2;

    writer->back_off_ms = doubled < BACK_OFF_MIN_MS   ? BACK_OFF_MIN_MS
                          : doubled > BACK_OFF_MAX_MS ? BACK_OFF_MAX_MS
                                                      : doubled;
    writer->not_before_ms = clock_ms() + writer->back_off_ms;
}

static void failed(struct dead_letter_writer *writer, const struct pending_event *event,
                   const char *why)
{
    writer->metrics->dead_letter_retries++;
    log_warn("dead_letter_not_written", LOG_STR("topic", writer->topic),
             LOG_INT("partition", event->record->partition),
             LOG_INT("offset", event->record->offset), LOG_STR("error", why));
    back_off(writer);
}

static void acknowledged(struct dead_letter_writer *writer, struct pending_event *event,
                         struct pending_event_list *dead_lettered)
{
    writer->back_off_ms = 0;
    writer->not_before_ms = 0;
    writer->metrics->dead_letters_without_value += event->letter_too_large;
    service_metrics_count_dead_letter(writer->metrics, event->reason);
    log_warn("dead_letter_written", LOG_STR("reason", event->reason),
             LOG_INT("partition", event->record->partition),
             LOG_INT("offset", event->record->offset), LOG_INT("request", event->request_id),
             LOG_STR("exports", event->exports), LOG_INT("without_value", event->letter_too_large),
             LOG_STR("trace", event->event.traceparent));
    event->state = PENDING_EVENT_DEAD_LETTERED;
    pending_event_push(dead_lettered, event);
}

static void unlink_in_flight(struct dead_letter_writer *writer, const struct pending_event *event)
{
    struct pending_event_list kept = { 0 };

    for (struct pending_event *other; (other = pending_event_pop(&writer->in_flight));)
        if (other != event)
            pending_event_push(&kept, other);
    writer->in_flight = kept;
}

static void take_report(struct dead_letter_writer *writer, const struct producer_report *report,
                        struct pending_event_list *dead_lettered)
{
    struct pending_event *event = report->tag;

    unlink_in_flight(writer, event);
    switch (report->outcome) {
    case PRODUCER_DELIVERED:
        acknowledged(writer, event, dead_lettered);
        return;
    case PRODUCER_TOO_LARGE:
        if (event->letter_too_large) /* its headers alone are: somebody must raise the limit */
            failed(writer, event, report->text);
        event->letter_too_large = true;
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
    const struct dead_letter letter = {
        .record = event->record,
        .reason = event->reason,
        .message = event->detail ? event->detail : "",
        .exports = event->exports,
        .run_id = event->run_id,
    };
    CLEANUP(record_freep)
    struct record *record = dead_letter_build(&letter, event->letter_too_large);
    struct error err = ERROR_INIT;

    if (!record)
        (void)error_no_memory(&err);
    else if (producer_produce(writer->producer, writer->topic, record, event, &err))
        return true;
    failed(writer, event, err.text);
    return false;
}

void dead_letter_writer_turn(struct dead_letter_writer *writer,
                             struct pending_event_list *dead_lettered)
{
    struct producer_report report;

    while (producer_next(writer->producer, &report))
        take_report(writer, &report, dead_lettered);
    if (clock_ms() < writer->not_before_ms)
        return;
    while (writer->due.first && writer->in_flight.n < FLYING_MAX) {
        if (!hand_over(writer, writer->due.first))
            return;
        pending_event_push(&writer->in_flight, pending_event_pop(&writer->due));
    }
}
