#include "worker/ingest/pending_event.h"

#include <stdlib.h>

struct pending_event *pending_event_new(struct record *record, int64_t epoch)
{
    struct pending_event *event = calloc(1, sizeof *event);

    if (!event) {
        record_free(record);
        return NULL;
    }
    event->record = record;
    event->epoch = epoch;
    event->bytes = sizeof *event + record_bytes(record);
    return event;
}

void pending_event_free(struct pending_event *event)
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

void pending_event_list_drop(struct pending_event_list *list, int32_t partition,
                             struct pending_event_list *dropped)
{
    struct pending_event_list kept = { 0 };

    for (struct pending_event *event; (event = pending_event_pop(list));) {
        bool ours = event->record->partition == partition && event->state == PENDING_EVENT_NEW;
        if (ours)
            event->state = PENDING_EVENT_DROPPED;
        pending_event_push(ours ? dropped : &kept, event);
    }
    *list = kept;
}
