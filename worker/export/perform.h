#ifndef WORKER_EXPORT_PERFORM_H
#define WORKER_EXPORT_PERFORM_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/export/effect.h"
#include "worker/export/lease.h"
#include "worker/klaviyo/client.h"
#include "worker/metrics/run_metrics.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * Performing: does one effect of a delivery with the store and the client, logs
 * it and counts it. It decides nothing.
 */
struct performer {
    const struct run_task *task;
    struct db *db;
    struct client *client;
    struct run_metrics *run_metrics;
    const struct lease *lease;
    int64_t timeout_ms; /* of a request */
};

/*
 * Not for FAIL and DONE. ERROR_LOST: the run is no longer ours; other kinds: the
 * database is not reachable, or memory is out. *result is for
 * delivery_performed().
 */
bool perform(const struct performer *performer, const struct effect *effect,
             struct effect_result *result, struct error *err) MUST_USE;

#endif
