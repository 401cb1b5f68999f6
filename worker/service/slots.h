#ifndef WORKER_SERVICE_SLOTS_H
#define WORKER_SERVICE_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/seal.h"
#include "worker/export/control.h"
#include "worker/metrics/run_metrics.h"
#include "worker/settings/settings.h"

/*
 * Run slots: MAX_RUNS threads, each with a database connection of its own, that
 * take runs and execute them, one at a time.
 *
 *     IDLE --the one that polls--> taken --> EXECUTING --> ended, or given back --> IDLE
 *
 * Of the idle slots one polls for runs: at once when woken, else every 200 ms.
 * Any worker takes any run, whichever partition its events came from.
 */
struct slots;

struct slots_options {
    const struct settings *settings; /* these outlive the slots */
    const struct seal_pair *pair;
    int64_t key_pair_id;
    const char *worker;     /* this process in listings: host and pid */
    const char *user_agent; /* of requests */
    struct run_control *control;
    struct run_metrics *run_metrics;
};

/* NULL: no memory or no threads. */
struct slots *slots_start(const struct slots_options *options, struct error *err) MUST_USE;

/* There may be a run to take. Any thread; never blocks for long. */
void slots_wake(struct slots *slots);

/* No new runs; those in progress wait for requests in flight until deadline_ms (clock_ms()). */
void slots_drain(struct slots *slots, int64_t deadline_ms);

/* Relinquishes all runs at once. */
void slots_cancel(struct slots *slots);

/* How many execute a run. */
int slots_busy(struct slots *slots);

/* Cancels, and waits for the threads. */
void slots_free(struct slots *slots);
DEFINE_OWNER(slots)

#endif
