#ifndef WORKER_HTTP_ENDPOINTS_H
#define WORKER_HTTP_ENDPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/export/control.h"
#include "worker/http/snapshot.h"
#include "worker/metrics/run_metrics.h"
#include "worker/metrics/service_metrics.h"

/*
 * The endpoints of this worker (HTTP_LISTEN):
 *
 *     /livez     200 or 503: is this process worth keeping (liveness.h)
 *     /readyz    200 or 503: in the consumer group, database takes new connections
 *     /metrics   Prometheus text (metrics_report.h)
 *     /          status page (page.h); /export?name= and /run?id= show one of them
 *     /api/runs  JSON behind the page: as `runs list --json`, the newest 100 or those that
 *                limit=, export= and state= pick
 *     /api/exports  the same for exports, as `export list --json`
 *
 * They answer from atomics and from a snapshot of the database that a thread
 * of its own takes. None of it shows personal data or a secret.
 */
struct endpoints;

struct endpoints_options {
    const char *listen; /* host:port; empty: none */
    const char *hosts;  /* further names that page and API answer under (own_hosts.h); NULL: none */
    const char *worker; /* host and pid */
    int64_t all_slots;
    struct service_metrics *metrics; /* these outlive the endpoints */
    const struct run_control *runs;
    const struct run_metrics *run_metrics;
    struct snapshot_ports database;
};

/* *out is NULL where they are turned off. Logs where they listen. */
bool endpoints_start(const struct endpoints_options *options, struct endpoints **out,
                     struct error *err) MUST_USE;

/* For tests: where they listen. */
uint16_t endpoints_port(const struct endpoints *endpoints);

/* Stops the server and the snapshot's thread, and waits for them. NULL is accepted. */
void endpoints_free(struct endpoints *endpoints);

DEFINE_OWNER(endpoints)

#endif
