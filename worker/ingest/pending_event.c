#include "worker/ingest/pending_event.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "worker/store/run_state.h"

static char *copy_text(const char *text)
{
    return text ? memory_needed(strdup(text)) : NULL;
}

static void body_free(struct pending_event_body *body)
{
    if (!body)
        return;
    event_release(&body->event);
    record_free(body->record);
    free(body);
}

static void death_free(struct pending_event_death *death)
{
    if (!death)
        return;
    free(death->reason);
    free(death->detail);
    free(death->exports);
    free(death->traceparent);
    free(death);
}

void pending_event_die(struct pending_event *event, const char *reason, const char *detail)
{
    struct pending_event_death *death = memory_needed(calloc(1, sizeof *death));

    death_free(event->death);
    death->reason = copy_text(reason);
    death->detail = copy_text(detail);
    death->traceparent = copy_text(event->body ? event->body->event.traceparent : NULL);
    event->death = death;
}

enum event_verdict pending_event_read(struct pending_event *event, const struct record *record,
                                      struct error *why)
{
    struct pending_event_body *body = calloc(1, sizeof *body);

    if (!body)
        return EVENT_NO_MEMORY;
    body->event = EVENT_INIT;
    enum event_verdict verdict = event_parse(record, &body->event, why);
    if (verdict == EVENT_VALID || verdict == EVENT_INVALID)
        body->record = record_copy(record);
    if (!body->record) {
        body_free(body);
        return verdict == EVENT_TOMBSTONE ? EVENT_TOMBSTONE : EVENT_NO_MEMORY;
    }
    (void)pending_event_drop_body(event);
    event->body = body;
    event->bytes = sizeof *event + sizeof *body + record_bytes(record);
    if (verdict == EVENT_INVALID && !event->death)
        pending_event_die(event, run_reason_name(REASON_EVENT_INVALID), why->text);
    return verdict;
}

enum event_verdict pending_event_new(const struct record *record, int64_t epoch,
                                     struct pending_event **out, struct error *why)
{
    struct pending_event *event = calloc(1, sizeof *event);

    if (!event)
        return EVENT_NO_MEMORY;
    event->partition = record->partition;
    event->offset = record->offset;
    event->timestamp_ms = record->timestamp_ms;
    event->epoch = epoch;
    enum event_verdict verdict = pending_event_read(event, record, why);
    if (verdict == EVENT_VALID || verdict == EVENT_INVALID)
        *out = event;
    else
        pending_event_free(event);
    return verdict;
}

size_t pending_event_drop_body(struct pending_event *event)
{
    size_t bytes = event->bytes;

    body_free(event->body);
    event->body = NULL;
    event->bytes = 0;
    return bytes;
}

void pending_event_free(struct pending_event *event)
{
    if (!event)
        return;
    body_free(event->body);
    death_free(event->death);
    free(event);
}

void pending_event_push(struct pending_event_list *list, struct pending_event *event)
{
    event->next = NULL;
    if (list->last)
        list->last->next = event;
    else
        list->first = event;
    list->last = event;
    list->n++;
}

struct pending_event *pending_event_pop(struct pending_event_list *list)
{
    struct pending_event *event = list->first;

    if (!event)
        return NULL;
    list->first = event->next;
    if (!list->first)
        list->last = NULL;
    list->n--;
    event->next = NULL;
    return event;
}

void pending_event_append(struct pending_event_list *list, struct pending_event_list *from)
{
    if (!from->first)
        return;
    if (list->last)
        list->last->next = from->first;
    else
        list->first = from->first;
    list->last = from->last;
    list->n += from->n;
    *from = (struct pending_event_list){ 0 };
}

void pending_event_list_clear(struct pending_event_list *list)
{
    for (struct pending_event *event; (event = pending_event_pop(list));)
        pending_event_free(event);
}

/* One whose letter is acknowledged is marked, whoever owns the partition. */
static bool may_be_dropped(const struct pending_event *event, int32_t partition)
{
    return event->partition == partition && event->state != PENDING_EVENT_DEAD_LETTERED;
}

static void sort_out(struct pending_event *event, bool drop, struct pending_event_list *kept,
                     struct pending_event_list *dropped)
{
    if (drop)
        event->state = PENDING_EVENT_DROPPED;
    pending_event_push(drop ? dropped : kept, event);
}

void pending_event_list_drop(struct pending_event_list *list, int32_t partition,
                             struct pending_event_list *dropped)
{
    struct pending_event_list kept = { 0 };

    for (struct pending_event *event; (event = pending_event_pop(list));)
        sort_out(event, may_be_dropped(event, partition), &kept, dropped);
    *list = kept;
}

void pending_event_list_drop_epoch(struct pending_event_list *list, int32_t partition,
                                   int64_t epoch, struct pending_event_list *dropped)
{
    struct pending_event_list kept = { 0 };

    for (struct pending_event *event; (event = pending_event_pop(list));)
        sort_out(event, event->epoch == epoch && may_be_dropped(event, partition), &kept, dropped);
    *list = kept;
}

static bool is_of_record(const struct pending_event *a, const struct pending_event *b)
{
    return a->partition == b->partition && a->offset == b->offset &&
           a->timestamp_ms == b->timestamp_ms;
}

/* The one of that record, NULL: there is none. Others keep their order. */
static struct pending_event *take_out(struct pending_event_list *list,
                                      const struct pending_event *record)
{
    struct pending_event *before = NULL, *event = list->first;

    while (event && !is_of_record(event, record)) {
        before = event;
        event = event->next;
    }
    if (!event)
        return NULL;
    *(before ? &before->next : &list->first) = event->next;
    if (list->last == event)
        list->last = before;
    list->n--;
    return event;
}

bool pending_event_adopt(struct pending_event *event, const struct pending_event *again)
{
    if (!is_of_record(event, again))
        return false;
    event->epoch = again->epoch;
    event->request_id = again->request_id;
    event->given_up = false;
    return true;
}

/* Records come again in their order: at the front is the one that is looked for next. */
bool pending_event_list_adopt(struct pending_event_list *list, const struct pending_event *again)
{
    struct pending_event *event = take_out(list, again);

    if (!event)
        return false;
    pending_event_push(list, event);
    return pending_event_adopt(event, again);
}
