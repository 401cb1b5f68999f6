#ifndef WORKER_INGEST_PENDING_EVENT_H
#define WORKER_INGEST_PENDING_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "worker/ingest/dead_letter.h"
#include "worker/ingest/event.h"
#include "worker/kafka/record.h"

/*
 * An event on its way from its message to the release of its offset. The control
 * thread and intake hand it to each other whole, in lists; the holder owns it.
 *
 * Its record is in memory only while it is needed: until its row is in the database,
 * and while its dead letter is being written. In between it is an offset and little
 * else; the record stays in Kafka, whose committed offset does not pass it before the
 * event has ended. If the record is needed again it is read there (reread.h).
 */
enum pending_event_state {
    PENDING_EVENT_NEW,             /* in: to be accepted; with its record */
    PENDING_EVENT_DONE,            /* out: release its offset */
    PENDING_EVENT_IGNORED,         /* out: no export concerned; release its offset */
    PENDING_EVENT_UNREAD,          /* out: read its record again, then hand it back as NEW */
    PENDING_EVENT_DEAD_LETTER_DUE, /* out: write the letter, then hand it back as DEAD_LETTERED */
    PENDING_EVENT_DEAD_LETTERED,   /* in: its letter is acknowledged; out again as DONE */
    PENDING_EVENT_DROPPED,         /* out: its partition was given up, the next owner has it */
    PENDING_EVENT_TWIN,            /* out: another event has taken over its epoch and its end */
};

/* What it needs its memory for. */
struct pending_event_body {
    struct record *record;
    struct event event; /* where it is valid */
};

/* Why it failed. Texts are NULL where there are none, but for the reason. */
struct pending_event_death {
    char *reason, *detail, *exports, *traceparent;
    int64_t run_id;
    enum dead_letter_form form; /* in which its letter fits */
};

struct pending_event {
    struct pending_event *next;
    enum pending_event_state state;
    int32_t partition;
    int64_t offset, timestamp_ms; /* of its record */
    int64_t epoch;                /* of its partition's assignment */
    int64_t request_id;           /* 0: no row yet */
    size_t bytes;                 /* memory that the body takes; 0: it has none */
    struct pending_event_body *body;
    struct pending_event_death *death; /* NULL: alive */
    bool given_up;                     /* of a letter in flight: should it fail, it is DROPPED */
    int64_t not_before_ms;             /* of an UNREAD or DEAD_LETTERED one, by clock_ms() */
};

struct pending_event_list {
    struct pending_event *first, *last;
    size_t n;
};

/*
 * An event of a record, with a copy of it. VALID or INVALID (it has failed already,
 * event_invalid, and why says what is wrong): *out is the caller's.
 */
enum event_verdict pending_event_new(const struct record *record, int64_t epoch,
                                     struct pending_event **out, struct error *why) MUST_USE;

/* With its body and its texts; NULL is accepted. */
void pending_event_free(struct pending_event *event);

/* Gives it a copy of its record, which was read again. As pending_event_new(). */
enum event_verdict pending_event_read(struct pending_event *event, const struct record *record,
                                      struct error *why) MUST_USE;

/* Frees the body; returns how many bytes that were. */
size_t pending_event_drop_body(struct pending_event *event);

/* It fails for that. Texts may be NULL, but for the reason; they are copied. */
void pending_event_die(struct pending_event *event, const char *reason, const char *detail);

/*
 * push takes the event, to the end; pop gives the first one back, NULL where
 * there is none; append moves all of from to the end of list.
 */
void pending_event_push(struct pending_event_list *list, struct pending_event *event);
struct pending_event *pending_event_pop(struct pending_event_list *list);
void pending_event_append(struct pending_event_list *list,
                          struct pending_event_list *from); /* empties */

/* Frees all events; the list is empty then. */
void pending_event_list_clear(struct pending_event_list *list);

/* Moves the events of a partition to another list, as DROPPED, but for DEAD_LETTERED ones. */
void pending_event_list_drop(struct pending_event_list *list, int32_t partition,
                             struct pending_event_list *dropped);

/* The same for those of one epoch. */
void pending_event_list_drop_epoch(struct pending_event_list *list, int32_t partition,
                                   int64_t epoch, struct pending_event_list *dropped);

/*
 * The record of `again` was delivered in another epoch. If the event is of that record (partition,
 * offset and timestamp) it stands for it from now on: it gets that epoch and row. In a list
 * it is the last one then. False: it, or each, is of another record.
 */
bool pending_event_adopt(struct pending_event *event, const struct pending_event *again) MUST_USE;
bool pending_event_list_adopt(struct pending_event_list *list, const struct pending_event *again)
    MUST_USE;

#endif
