#ifndef WORKER_HTTP_METRICS_REPORT_H
#define WORKER_HTTP_METRICS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "worker/export/control.h"
#include "worker/http/http_server.h"
#include "worker/http/snapshot.h"
#include "worker/metrics/run_metrics.h"
#include "worker/metrics/service_metrics.h"

/*
 * All metrics of this process as a page of Prometheus text: their names and their
 * meaning. deploy/alerts and deploy/dashboard
 * use these names, so they are an interface.
 *
 * Every counter is there from the start, with 0, so that the first
 * increase is seen; a value that is not known is left out.
 */
struct metrics_report {
    struct service_metrics *service;
    const struct run_control *runs;
    const struct run_metrics *run_metrics;
    const struct snapshot_view *database;
    const struct freshness *freshness; /* NULL: not read yet */
    struct http_metrics endpoints;
    int64_t all_slots;
    int64_t now_ms;     /* clock_ms() */
    int64_t started_us; /* clock_utc_us() */
    bool ready;
};

/* Appends to out; ask strbuf_ok() afterwards. */
void metrics_report_write(const struct metrics_report *report, struct strbuf *out);

/* The lag of a partition, in events; -1: not known (yet). */
int64_t metrics_report_lag(const struct service_partition *partition);

#endif
