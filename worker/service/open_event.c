#include "worker/service/open_event.h"

#include <stdlib.h>

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

void open_event_list_clear(struct open_event_list *list)
{
    for (struct open_event *event; (event = open_event_pop(list));)
        open_event_free(event);
}

void open_event_list_drop(struct open_event_list *list, int32_t partition,
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
