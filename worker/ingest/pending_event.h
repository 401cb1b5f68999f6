#ifndef WORKER_INGEST_PENDING_EVENT_H
#define WORKER_INGEST_PENDING_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "worker/ingest/event.h"
#include "worker/kafka/record.h"

/*
 * An event on its way from its message to the release of its offset. Control,
 * intake and dead letters hand it to each other whole, in lists; who holds it
 * owns it.
 */
enum pending_event_state {
    PENDING_EVENT_NEW,             /* in: to be accepted */
    PENDING_EVENT_DONE,            /* out: release its offset */
    PENDING_EVENT_IGNORED,         /* out: no export concerned; release its offset */
    PENDING_EVENT_DEAD_LETTER_DUE, /* out: write the dead letter, then hand it back as BURIED */
    PENDING_EVENT_DEAD_LETTERED,   /* in: its letter is acknowledged; out again as DONE */
    PENDING_EVENT_DROPPED,         /* out: its partition was given up */
};

struct pending_event {
    struct pending_event *next;
    struct record *record;
    int64_t epoch; /* of its partition's assignment */
    size_t bytes;  /* what it counts for admission */
    bool valid;    /* event is set; else the reason is event_invalid and detail says why */
    struct event event;
    enum pending_event_state state;
    int64_t request_id;

    /* Of a DEAD one. */
    char *reason, *detail, *exports;
    int64_t run_id;
    bool letter_too_large; /* goes without its value */
};

struct pending_event_list {
    struct pending_event *first, *last;
    size_t n;
};

/* Owns record and event from now on, also when NULL comes back (out of memory). */
struct pending_event *pending_event_new(struct record *record, int64_t epoch) MUST_USE;
void pending_event_free(struct pending_event *event);
void pending_event_push(struct pending_event_list *list, struct pending_event *event);
struct pending_event *pending_event_pop(struct pending_event_list *list);
void pending_event_append(struct pending_event_list *list,
                          struct pending_event_list *from); /* empties */

/* Frees all events; the list is empty then. */
void pending_event_list_clear(struct pending_event_list *list);

/* Moves the NEW events of a partition to another list, as DROPPED. */
void pending_event_list_drop(struct pending_event_list *list, int32_t partition,
                             struct pending_event_list *dropped);

#endif
