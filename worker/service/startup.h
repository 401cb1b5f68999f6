#ifndef WORKER_SERVICE_STARTUP_H
#define WORKER_SERVICE_STARTUP_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/metrics/service_metrics.h"

/*
 * The start of the service: waits until the database is there and is what it must
 * be, as it waits for Kafka later. Meanwhile the process is alive and not ready,
 * and a signal ends it at once. The attempts are made on a thread of their own, so
 * that no wait of a connection holds up the control thread.
 *
 *     trying --true--> STARTUP_DONE
 *       ^  +--ERROR_RETRY--> a pause of up to 2 s --+
 *       +-------------------------------------------+
 *          +--any other error--> STARTUP_FAILED
 *     a signal, at any time --> STARTUP_STOPPED
 */
struct startup_check {
    /* On a thread of its own. stop_fd becomes readable when it is to give up. */
    bool (*check)(void *opaque, const int *stop_fd, struct error *err);
    void *opaque;
};

enum startup { STARTUP_DONE, STARTUP_STOPPED, STARTUP_FAILED /* err says why */ };

/*
 * Blocks until the check is done, has failed for good or a signal came; signals
 * must be blocked. err is set for FAILED only. metrics: the turns of its loop
 * are counted.
 */
enum startup startup_wait(const struct startup_check *check, struct service_metrics *metrics,
                          struct error *err) MUST_USE;

#endif
