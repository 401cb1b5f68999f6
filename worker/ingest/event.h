#ifndef WORKER_INGEST_EVENT_H
#define WORKER_INGEST_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/ingest/traceparent.h"
#include "worker/kafka/record.h"

/*
 * A refresh event, read from a record.
 *
 * CloudEvents 1.0 in binary mode (ce_ headers), in structured mode (content-type
 * application/cloudevents+json), or plain JSON without either. What an event
 * must look like is defined in schemas/events/; this parser and that schema agree, and
 * tests compare both with the same examples. Members that are
 * not known are not looked at, whatever they hold; optional ones that are null
 * are absent.
 *
 * Texts are UTF-8 without NUL characters, so that PostgreSQL can keep them.
 */
enum {
    EVENT_VALUE_MAX_BYTES = 65536,
    EVENT_NAME_MAX_CHARACTERS = 200,  /* segment_id, refresh_id, export_id */
    EVENT_ATTRIBUTE_MAX_BYTES = 1024, /* ce_id, ce_source: both fit one index entry */
};

enum event_trigger { EVENT_TRIGGER_SCHEDULE, EVENT_TRIGGER_ON_DEMAND };

enum event_verdict {
    EVENT_VALID,
    EVENT_TOMBSTONE, /* null value: nothing to do */
    EVENT_INVALID,   /* will never be valid: a dead letter */
    EVENT_NO_MEMORY,
};

struct event {
    char *source; /* NULL: plain JSON; its identity is then its record's */
    char *id;     /* NULL together with source */
    char *segment_id;
    char *refresh_id;
    int64_t refreshed_at_us;
    enum event_trigger trigger;
    char *export_id; /* NULL: every export of the segment */
    bool full;
    bool confirm_removals;
    unsigned confirmed;                           /* set of guards (store/guard.h) */
    char traceparent[TRACEPARENT_CHARACTERS + 1]; /* "": none, or not one */
};

#define EVENT_INIT ((struct event){ .id = NULL })

/*
 * INVALID: err says what is wrong with which member, never with what value.
 * *event is written when VALID only; free its texts with event_release().
 */
enum event_verdict event_parse(const struct record *record, struct event *event, struct error *err)
    MUST_USE;
void event_release(struct event *event);

/* Whether its value is an envelope with the event in it: in structured mode. */
bool event_is_structured(const struct record *record);

/* How often this event has died before: the header of a dead letter that was replayed. */
int event_attempts(const struct record *record);

#endif
