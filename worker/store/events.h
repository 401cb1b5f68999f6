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
 * A request is open from the commit that takes its event in until every run
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
    const char *traceparent; /* NULL: none */
};

enum event_row_state {
    EVENT_ROW_OPEN,
    EVENT_ROW_DONE,
    EVENT_ROW_IGNORED, /* no active export uses the segment; no row was written */
    EVENT_ROW_DEAD_LETTER_DUE,
    EVENT_ROW_DEAD_LETTERED,
};

struct event_row_result {
    int64_t request_id; /* 0: there is no row, nothing to wait for */
    enum event_row_state state;
};

/* One commit for all of them. out: n rows, in the order of in. */
bool events_accept(struct db *db, const struct event_row *in, size_t n,
                   struct event_row_result *out, struct error *err) MUST_USE;

/* A request that has ended. */
struct event_row_end {
    int64_t request_id;
    enum event_row_state state; /* DONE, DEAD_LETTER_DUE or DEAD_LETTERED */
    /* Of a dead letter; NULL or 0 elsewhere and where it has none. */
    char *reason;
    char *detail;
    char *exports;  /* names of the failed ones, separated by commas */
    int64_t run_id; /* the first failed one */
};

/*
 * Of the n open ones, those that have ended. *ends is the caller's:
 * event_row_ends_free(). One that has no row any more counts as done.
 */
bool events_ended(struct db *db, const int64_t *ids, size_t n, struct event_row_end **ends,
                  size_t *n_ends, struct error *err) MUST_USE;

void event_row_ends_free(struct event_row_end *ends, size_t n);

/* The broker has acknowledged the dead letters of these. */
bool events_mark_dead_lettered(struct db *db, const int64_t *ids, size_t n, struct error *err)
    MUST_USE;

#endif
