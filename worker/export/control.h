#ifndef WORKER_EXPORT_CONTROL_H
#define WORKER_EXPORT_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/metrics/run_metrics.h"
#include "worker/store/run_state.h"

/*
 * What the process tells its runs, and what they tell it. Written by one side,
 * read by the other, each value by itself; shared by all run slots.
 */
struct run_control {
    atomic_llong drain_ms;    /* 0: continue; else clock_ms() until when responses are waited for */
    atomic_bool cut_off;      /* relinquish runs at once */
    atomic_llong progress_ms; /* clock_ms() of the last progress of any run */
    atomic_llong busy_slots;  /* run slots that execute a run */
    atomic_llong run_poll_ms; /* clock_ms() of the last poll of an idle slot for a run */
    atomic_llong run_blocked_ms; /* clock_ms() when a lock held up a run last; 0: never */

    /* Totals for the metrics. */
    atomic_llong runs_ended[RUN_STATES]; /* of states that are an end */
    atomic_llong runs_taken, runs_taken_over, runs_blocked, leases_lost;
    atomic_llong accepted_rows, rejected_rows, batches_sent;
    atomic_llong throttled, slowed, retries, limit_wait_ms;
    struct run_metrics run_metrics;
};

#endif
