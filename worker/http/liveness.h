#ifndef WORKER_HTTP_LIVENESS_H
#define WORKER_HTTP_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Does this process do its work? Pure: what is known goes in, a verdict comes
 * out. A process that is not alive is ended, so the verdict is "no" only where a
 * restart helps:
 *
 * - the control loop has not turned for LIVENESS_LOOP_MS (it turns ten times a
 *   second), nor between two looks a second apart: in a process that was frozen,
 *   or whose machine was, the question may be answered before the loop runs again, or
 * - events are open, a run slot is free, no run made progress for
 *   LIVENESS_STALL_MS, and one of the threads that hand on work (intake, the
 *   slot that polls for runs) has not moved for as long, although PostgreSQL
 *   answered another connection of this process a moment ago.
 *
 * Kafka, PostgreSQL or Klaviyo being unreachable, or frozen, is not among these.
 */
enum {
    LIVENESS_LOOP_MS = 10 * 1000,
    LIVENESS_LOOK_MS = 1000,
    LIVENESS_STALL_MS = 120 * 1000,
    LIVENESS_ANSWER_MS = 30 * 1000, /* the oldest that PostgreSQL's answer may be */
};

/* Times are of clock_ms(); 0: never. */
struct liveness_facts {
    int64_t now_ms;
    int64_t started_ms;
    int64_t loop_ms;     /* the control loop's last turn */
    int64_t look_ms;     /* the first look that found this turn to be the last */
    int64_t intake_ms;   /* intake's last turn */
    int64_t run_poll_ms; /* the last poll of an idle slot for a run */
    int64_t progress_ms; /* the last progress of any run */
    int64_t answer_ms;   /* PostgreSQL's last answer to the database probe */
    int64_t open_events;
    int64_t free_slots;
    bool draining;
};

/* What the looks so far have seen of the loop; { 0 } before the first. */
struct liveness_look {
    int64_t loop_ms, since_ms;
};

/* A look at now_ms: since when the loop's last turn has been this one, for the looks. */
int64_t liveness_look(struct liveness_look *look, int64_t loop_ms, int64_t now_ms);

enum liveness { LIVENESS_ALIVE, LIVENESS_LOOP_STANDS, LIVENESS_STALLED };

/* The control loop first; ALIVE wherever a restart would not help. */
enum liveness liveness_judge(const struct liveness_facts *facts);

/* It would be stalled if PostgreSQL answers: the caller should probe it. */
bool liveness_is_in_doubt(const struct liveness_facts *facts);

/* One sentence; lives for ever. */
const char *liveness_text(enum liveness liveness);

#endif
