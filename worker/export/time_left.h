#ifndef WORKER_EXPORT_TIME_LEFT_H
#define WORKER_EXPORT_TIME_LEFT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * When a run will be through (pure), by the limiter's own arithmetic.
 *
 * What is to be imported goes once a block is over, as fast as the account's limit lets
 * all of its runs, and no faster than the imports in flight make room. How long one of
 * those takes is measured; until the first has ended nothing is known.
 */
struct time_left_facts {
    int64_t planned, sent; /* imports of this run: to be sent, at Klaviyo */
    int64_t job_ms;        /* how long one takes; 0: not known yet */
    int64_t others;        /* imports of other runs to the account that go in between */
    int64_t percent;       /* the part of the limit that is ours */
    int64_t used;          /* imports that count within the last minute */
    int64_t blocked_ms;    /* until when nothing may be imported; 0: it may */
    int64_t waiting_ms;    /* until when the run can do nothing at all; 0: it can */
};

/*
 * From a run as runs show --json has it, and its outlook (schemas/sql/0044_outlook.sql).
 * False: nothing can be said of it: it makes no progress, or waits for something unreachable.
 */
bool time_left_read(const json_t *run, const json_t *outlook, int64_t now_us,
                    struct time_left_facts *facts);

/* 0: not known. */
int64_t time_left_ms(const struct time_left_facts *facts);

/*
 * The end as it was shown last. It comes nearer, and moves away for a cause only: more is
 * to be imported, others send more, less of the limit is ours, a block or a wait ends
 * later, the run could not continue, or the time shown has passed.
 */
struct time_left {
    int64_t end_us;                                                    /* UTC; 0: not known */
    int64_t work, others, percent, blocked_until_us, waiting_until_us; /* as it was then */
};

/* facts NULL: nothing is known now. */
void time_left_update(struct time_left *left, const struct time_left_facts *facts, int64_t now_us);

/* In seconds, rounded up; 0: not known, or it should be over by now. */
int64_t time_left_seconds(const struct time_left *left, int64_t now_us);

#endif
