#ifndef WORKER_SERVICE_DATABASE_PROBE_H
#define WORKER_SERVICE_DATABASE_PROBE_H

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/metrics/service_metrics.h"

/*
 * Can a new connection to the database be made? A thread of its own makes one
 * every 20 seconds and closes it: connections that are up say nothing of a
 * password that is no longer taken, or of a server that has none left to give.
 * /readyz wants a success of the last minute.
 */
struct database_probe;

struct database_probe_ports {
    void *opaque;
    bool (*connect)(void *opaque, struct error *err); /* makes a connection and closes it */
};

/* The ports and metrics outlive it. The first attempt is made at once. */
struct database_probe *database_probe_start(const struct database_probe_ports *ports,
                                            struct service_metrics *metrics, struct error *err)
    MUST_USE;

/* Waits for an attempt that is being made: the time-out of a connection, at most. */
void database_probe_free(struct database_probe *probe);

#endif
