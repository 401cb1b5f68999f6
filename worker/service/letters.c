#include "worker/service/letters.h"

#include <assert.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/kafka/producer.h"
#include "worker/service/dead_letter.h"

enum { FLYING_MAX = 100, BACK_OFF_MIN_MS = 200, BACK_OFF_MAX_MS = 10000 };

struct letters {
    const char *topic;
    struct service_metrics *metrics;
    struct producer *producer;
    struct open_event_list due;    /* to be handed to the producer */
    struct open_event_list flying; /* handed over, no report yet */
    int64_t back_off_ms, not_before_ms;
};

struct letters *letters_new(const struct settings *settings, struct service_metrics *metrics,
                            struct error *err)
{
    struct letters *letters = calloc(1, sizeof *letters);
    if (!letters) {
        (void)error_no_memory(err);
        return NULL;
    }
    letters->topic = settings->kafka_dead_letter_topic;
    letters->metrics = metrics;
    letters->producer = producer_new(settings, err);
    if (!letters->producer) {
        letters_free(letters);
        return NULL;
    }
    return letters;
}

void letters_free(struct letters *letters)
{
    if (!letters)
        return;
    producer_free(letters->producer);
    for (struct open_event *event; (event = open_event_pop(&letters->due));)
        open_event_free(event);
    for (struct open_event *event; (event = open_event_pop(&letters->flying));)
        open_event_free(event);
    free(letters);
}

int letters_fd(const struct letters *letters)
{
    return producer_fd(letters->producer);
}

size_t letters_n(const struct letters *letters)
{
    return letters->due.n + letters->flying.n;
}

void letters_add(struct letters *letters, struct open_event *event)
{
    assert(event->state == OPEN_EVENT_DEAD && event->reason);
    open_event_push(&letters->due, event);
}

static void back_off(struct letters *letters)
{
    int64_t doubled = letters->back_off_ms * 2;

    letters->back_off_ms = doubled < BACK_OFF_MIN_MS   ? BACK_OFF_MIN_MS
                           : doubled > BACK_OFF_MAX_MS ? BACK_OFF_MAX_MS
                                                       : doubled;
    letters->not_before_ms = clock_ms() + letters->back_off_ms;
}

static void failed(struct letters *letters, const struct open_event *event, const char *why)
{
    letters->metrics->dead_letter_retries++;
    log_warn("dead_letter_not_written", LOG_STR("topic", letters->topic),
             LOG_INT("partition", event->record->partition),
             LOG_INT("offset", event->record->offset), LOG_STR("error", why));
    back_off(letters);
}

static void acknowledged(struct letters *letters, struct open_event *event,
                         struct open_event_list *buried)
{
    letters->back_off_ms = 0;
    letters->not_before_ms = 0;
    letters->metrics->dead_letters_without_value += event->letter_too_large;
    service_metrics_count_dead_letter(letters->metrics, event->reason);
    log_warn("dead_letter_written", LOG_STR("reason", event->reason),
             LOG_INT("partition", event->record->partition),
             LOG_INT("offset", event->record->offset), LOG_INT("request", event->request_id),
             LOG_STR("exports", event->exports), LOG_INT("without_value", event->letter_too_large),
             LOG_STR("trace", event->event.traceparent));
    event->state = OPEN_EVENT_BURIED;
    open_event_push(buried, event);
}

static void unlink_flying(struct letters *letters, const struct open_event *event)
{
    struct open_event_list kept = { 0 };

    for (struct open_event *other; (other = open_event_pop(&letters->flying));)
        if (other != event)
            open_event_push(&kept, other);
    letters->flying = kept;
}

static void take_report(struct letters *letters, const struct producer_report *report,
                        struct open_event_list *buried)
{
    struct open_event *event = report->tag;

    unlink_flying(letters, event);
    switch (report->outcome) {
    case PRODUCER_DELIVERED:
        acknowledged(letters, event, buried);
        return;
    case PRODUCER_TOO_LARGE:
        if (event->letter_too_large) /* its headers alone are: somebody must raise the limit */
            failed(letters, event, report->text);
        event->letter_too_large = true;
        break;
    case PRODUCER_FAILED:
        failed(letters, event, report->text);
        break;
    }
    open_event_push(&letters->due, event);
}

/* False: not now. */
static bool hand_over(struct letters *letters, struct open_event *event)
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
    else if (producer_produce(letters->producer, letters->topic, record, event, &err))
        return true;
    failed(letters, event, err.text);
    return false;
}

void letters_turn(struct letters *letters, struct open_event_list *buried)
{
    struct producer_report report;

    while (producer_next(letters->producer, &report))
        take_report(letters, &report, buried);
    if (clock_ms() < letters->not_before_ms)
        return;
    while (letters->due.first && letters->flying.n < FLYING_MAX) {
        if (!hand_over(letters, letters->due.first))
            return;
        open_event_push(&letters->flying, open_event_pop(&letters->due));
    }
}
