#ifndef WORKER_SERVICE_OPEN_EVENT_H
#define WORKER_SERVICE_OPEN_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "worker/kafka/record.h"
#include "worker/service/event.h"

/*
 * An event on its way from its message to the release of its offset. Control,
 * intake and dead letters hand it to each other whole, in lists; who holds it
 * owns it.
 */
enum open_event_state {
    OPEN_EVENT_NEW,     /* in: to be accepted */
    OPEN_EVENT_DONE,    /* out: release its offset */
    OPEN_EVENT_IGNORED, /* out: no export concerned; release its offset */
    OPEN_EVENT_DEAD,    /* out: write the dead letter, then hand it back as BURIED */
    OPEN_EVENT_BURIED,  /* in: its letter is acknowledged; out again as DONE */
    OPEN_EVENT_DROPPED, /* out: its partition was given up */
};

struct open_event {
    struct open_event *next;
    struct record *record;
    int64_t epoch; /* of its partition's assignment */
    size_t bytes;  /* what it counts for admission */
    bool valid;    /* event is set; else the reason is event_invalid and detail says why */
    struct event event;
    enum open_event_state state;
    int64_t request_id;

    /* Of a DEAD one. */
    char *reason, *detail, *exports;
    int64_t run_id;
    bool letter_too_large; /* goes without its value */
};

struct open_event_list {
    struct open_event *first, *last;
    size_t n;
};

/* Owns record and event from now on, also when NULL comes back (out of memory). */
struct open_event *open_event_new(struct record *record, int64_t epoch) MUST_USE;
void open_event_free(struct open_event *event);
void open_event_push(struct open_event_list *list, struct open_event *event);
struct open_event *open_event_pop(struct open_event_list *list);
void open_event_append(struct open_event_list *list, struct open_event_list *from); /* empties */

/* Frees all events; the list is empty then. */
void open_event_list_clear(struct open_event_list *list);

/* Moves the NEW events of a partition to another list, as DROPPED. */
void open_event_list_drop(struct open_event_list *list, int32_t partition,
                          struct open_event_list *dropped);

#endif
