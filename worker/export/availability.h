#ifndef WORKER_EXPORT_AVAILABILITY_H
#define WORKER_EXPORT_AVAILABILITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/klaviyo/verdict.h"

/*
 * Whether Klaviyo is available, as its responses show (pure): since when nothing has come
 * but failures, nothing but reached limits, or nothing at all, and in which words that is
 * reported. Times are milliseconds of clock_ms().
 */
enum {
    AVAILABILITY_LONG_MS =
        3000, /* chosen: in vain for this long lasts longer; so for a parked run */
};

struct availability {
    char trouble[VERDICT_TEXT_BYTES]; /* the last, in words fit for a log */
    char limit[VERDICT_TEXT_BYTES];   /* the last that was reached, the same */
    int64_t unavailable_since_ms;     /* nothing but responses in vain since; 0: not */
    int64_t limited_since_ms;         /* nothing but reached limits since; 0: not */
    int64_t quiet_since_ms;           /* while something is in flight: no response since */
};

/* As a run that was parked left it: unavailable, limited, or neither; trouble may be NULL. */
void availability_init(struct availability *availability, bool unavailable, bool limited,
                       const char *trouble, int64_t now_ms);

/*
 * The first request is sent, or a response came that says nothing of the others: nothing
 * is missing yet.
 */
void availability_heard(struct availability *availability, int64_t now_ms);

/* A response came; n_in_flight with it. True: it was neither in vain nor a reached limit. */
bool availability_responded(struct availability *availability, enum verdict_action action,
                            size_t n_in_flight, int64_t now_ms);

/* The run got on: what was in vain before is told no more, unless it still is. */
void availability_progress(struct availability *availability);

/* A response this late counts as one in vain: reported within 5 s (contract). */
bool availability_is_slow(int64_t sent_ms, int64_t now_ms);

/* Something is in flight, and nothing has come for too long. */
bool availability_is_quiet(const struct availability *availability, size_t n_in_flight,
                           int64_t now_ms);

/* For how long nothing has come but failures, or limits; 0: something else has. */
int64_t availability_in_vain_ms(const struct availability *availability, int64_t now_ms);
int64_t availability_limited_ms(const struct availability *availability, int64_t now_ms);

#endif
