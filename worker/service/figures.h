#ifndef WORKER_SERVICE_FIGURES_H
#define WORKER_SERVICE_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "worker/export/control.h"
#include "worker/service/http_server.h"
#include "worker/service/metrics.h"
#include "worker/service/snapshot.h"

/*
 * All figures of this process as a page of Prometheus text: which there are,
 * what they are called, and what they mean. deploy/alerts and
 * deploy/dashboard use these names, so they are an interface.
 *
 * Every counter stands there from the start, with 0, so that the first
 * increase is seen; a figure that is not known is left out.
 */
struct figures {
    struct service_metrics *service;
    const struct run_control *runs;
    const struct snapshot_view *database;
    struct http_figures endpoints;
    int64_t all_slots;
    int64_t now_ms;     /* clock_ms() */
    int64_t started_us; /* clock_utc_us() */
    bool ready;
};

void figures_write(const struct figures *figures, struct strbuf *out);

/* The lag of a partition, in events; -1: not known (yet). */
int64_t figures_lag(const struct service_partition *partition);

#endif
