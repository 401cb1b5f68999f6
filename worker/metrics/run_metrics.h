#ifndef WORKER_METRICS_RUN_METRICS_H
#define WORKER_METRICS_RUN_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "worker/klaviyo/response.h"
#include "worker/store/runs.h"

/*
 * What the runs of this process came to, for its metrics: totals, requests by
 * endpoint and kind of response, how long they took, members by what became of
 * them, failures by reason. Zeroed memory is a new one. Added to by all run slots,
 * read by the endpoints; each number is true by itself.
 */
enum run_metrics_status {
    RUN_METRICS_2XX,
    RUN_METRICS_3XX,
    RUN_METRICS_4XX,
    RUN_METRICS_5XX,
    RUN_METRICS_NO_RESPONSE,
    RUN_METRICS_STATUSES,
};

enum run_metrics_member {
    RUN_METRICS_READ,
    RUN_METRICS_INVALID,
    RUN_METRICS_DUPLICATE,
    RUN_METRICS_UNCHANGED,
    RUN_METRICS_SELECTED,
    RUN_METRICS_LEFT,
    RUN_METRICS_REMOVED, /* of those that left */
    RUN_METRICS_MEMBERS,
};

enum { RUN_METRICS_BOUNDS = 9 };

struct run_metrics_endpoint {
    atomic_llong by_status[RUN_METRICS_STATUSES];
    atomic_llong by_duration[RUN_METRICS_BOUNDS + 1]; /* the last: longer than every bound */
    atomic_llong duration_ms;
};

struct run_metrics {
    atomic_llong runs_ended[RUN_STATES]; /* of states that are an end */
    atomic_llong runs_taken, runs_taken_over, runs_blocked, leases_lost;
    atomic_llong accepted_rows, rejected_rows, batches_sent;
    atomic_llong throttled, slowed, retries, limit_wait_ms;
    struct run_metrics_endpoint endpoints[ENDPOINT_COUNT];
    atomic_llong members[RUN_METRICS_MEMBERS];
    atomic_llong failed[RUN_REASONS];
};

extern const int64_t run_metrics_bounds_ms[RUN_METRICS_BOUNDS];
extern const char *const run_metrics_status_names[RUN_METRICS_STATUSES];
extern const char *const run_metrics_member_names[RUN_METRICS_MEMBERS];

/* Once per response; any thread. */
void run_metrics_response(struct run_metrics *run_metrics, const struct response *response);

/* Once a run, when it has come to its end. removed: of counts->left. */
void run_metrics_counts(struct run_metrics *run_metrics, const struct run_counts *counts,
                        int64_t removed);

/* Once per failed run; any thread. */
void run_metrics_failure(struct run_metrics *run_metrics, enum run_reason reason);

#endif
