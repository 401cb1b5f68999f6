#ifndef WORKER_EXPORT_TALLY_H
#define WORKER_EXPORT_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

#include "worker/klaviyo/answer.h"
#include "worker/store/runs.h"

/*
 * What the runs of this process came to, for its metrics: requests by endpoint
 * and kind of answer, how long they took, members by what became of them,
 * failures by reason. Zeroed memory is a new one. Added to by all run slots,
 * read by the endpoints; each number is true by itself.
 */
enum tally_status {
    TALLY_2XX,
    TALLY_3XX,
    TALLY_4XX,
    TALLY_5XX,
    TALLY_NO_ANSWER,
    TALLY_STATUSES,
};

enum tally_member {
    TALLY_READ,
    TALLY_INVALID,
    TALLY_DUPLICATE,
    TALLY_UNCHANGED,
    TALLY_SELECTED,
    TALLY_LEFT,
    TALLY_MEMBERS,
};

enum { TALLY_BOUNDS = 9, TALLY_REASONS = 10 };

struct tally_endpoint {
    atomic_llong by_status[TALLY_STATUSES];
    atomic_llong by_duration[TALLY_BOUNDS + 1]; /* the last: longer than every bound */
    atomic_llong duration_ms;
};

struct tally {
    struct tally_endpoint endpoints[ENDPOINT_COUNT];
    atomic_llong members[TALLY_MEMBERS];
    atomic_llong failed[TALLY_REASONS];
};

extern const int64_t tally_bounds_ms[TALLY_BOUNDS];
extern const char *const tally_status_names[TALLY_STATUSES];
extern const char *const tally_member_names[TALLY_MEMBERS];
extern const char *const tally_reasons[TALLY_REASONS]; /* the last: any other */

void tally_answer(struct tally *tally, const struct answer *answer);

/* Once a run, when it has come to its end. */
void tally_counts(struct tally *tally, const struct run_counts *counts);

void tally_failure(struct tally *tally, const char *reason);

#endif
