#ifndef WORKER_STORE_EVENTS_H
#define WORKER_STORE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Requests: what became of the events.
 *
 * A request's identity is its record's: topic, partition, offset and timestamp
 * (a topic created again starts at offset 0 again). The same source, id and
 * segment in another record is the same event, published again.
 *
 * It is open from the commit that takes its event in until every run
 * that answers it has ended. Then it is done, or a dead letter is due; that is
 * marked once the broker has acknowledged the letter.
 */
struct event_row {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    const char *reason; /* not NULL: the event is invalid; only detail follows */
    const char *detail;
    const char *source; /* ce_source and ce_id; NULL for a plain event */
    const char *event_id;
    const char *segment_id;
    const char *refresh_id;
    int64_t refreshed_at_us;
    const char *trigger; /* "schedule" or "on-demand" */
    const char *export_name;
    bool full;
    bool confirm_removals;
    unsigned confirmed;      /* set of guards (guard.h) */
    const char *traceparent; /* NULL: none */
};

enum event_row_state {
    EVENT_ROW_OPEN,
    EVENT_ROW_DONE,
    EVENT_ROW_IGNORED, /* no active export uses the segment; no row was written */
    EVENT_ROW_DEAD_LETTER_DUE,
    EVENT_ROW_DEAD_LETTERED,
    EVENT_ROW_BLOCKED, /* somebody holds a lock that its row needs; nothing was written */
    EVENT_ROW_MISSING, /* there is no such row (any more): the database was set back */
};

struct event_row_result {
    int64_t request_id; /* 0: there is no row, nothing to wait for */
    enum event_row_state state;
};

enum events_accepted {
    EVENTS_ACCEPTED,
    EVENTS_BLOCKED, /* a lock could not be had within a second: accept them one by one */
    EVENTS_REFUSED, /* by the data of at least one of them (SQLSTATE class 22 or 23) */
    EVENTS_FAILED,  /* ERROR_RETRY: the database is not reachable; else it refuses to work */
};

/*
 * Takes events in, in one commit. one_by_one: those that somebody else's lock
 * holds up come back as BLOCKED, and the others are taken in. Unless ACCEPTED,
 * err says why and nothing was written. out: n rows, in the order of in.
 */
enum events_accepted events_accept(struct db *db, const struct event_row *in, size_t n,
                                   bool one_by_one, struct event_row_result *out, struct error *err)
    MUST_USE;

/* Who an event is, and which row is believed to be its own. */
struct event_key {
    int64_t request_id;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
};

struct event_keys {
    const char *topic; /* of all of them */
    const struct event_key *items;
    size_t n;
};

/* A request that is not open. */
struct event_row_end {
    size_t nth; /* of the keys that were asked for: two of them may name the same request */
    enum event_row_state state; /* DONE, DEAD_LETTER_DUE, DEAD_LETTERED or MISSING */
    /* Of a dead letter; NULL or 0 elsewhere and where it has none. */
    char *reason;
    char *detail;
    char *exports;  /* names of the failed ones, separated by commas */
    int64_t run_id; /* the first failed one */
    char *traceparent;
};

/* Owns them; zeroes are none. */
struct event_row_ends {
    struct event_row_end *items;
    size_t n;
};

/*
 * Of the events that wait, those that are not open, in the order of the keys. *ends is
 * the caller's to release. A row that is gone, or that belongs to another record, is MISSING:
 * its event is to be accepted again.
 */
bool events_ended(struct db *db, const struct event_keys *keys, struct event_row_ends *ends,
                  struct error *err) MUST_USE;

/* Frees the ends with their texts; there are none then. */
void event_row_ends_release(struct event_row_ends *ends);

/*
 * The broker has acknowledged the dead letters of these. held: one for each key, written on
 * success; true: another session's lock keeps its row from being marked. Such a lock is
 * waited for a second, or not at all (at_once).
 */
bool events_mark_dead_lettered(struct db *db, const struct event_keys *keys, bool at_once,
                               bool *held, struct error *err) MUST_USE;

/* Who seems to hold what BLOCKED events, or takes of runs, wait for; pid 0: nobody (any more). */
struct lock_holder {
    int64_t pid;          /* of the server's process */
    char user[64];        /* a role's name */
    char application[64]; /* as that session calls itself */
};

/* A guess of this moment, for a log line; *holder is written on success only. Errors as in db.h. */
bool events_lock_holder(struct db *db, struct lock_holder *holder, struct error *err) MUST_USE;

#endif
