#ifndef WORKER_HTTP_READINESS_H
#define WORKER_HTTP_READINESS_H

#include <stdint.h>

#include "worker/metrics/service_metrics.h"

/*
 * Can this worker do its part now? Asked by /readyz, the metrics and the status
 * page; a worker that is not ready continues all the same.
 *
 * Ready is one that is in the consumer group, whose database is reached, and
 * has taken a new connection within READINESS_CONNECTION_MS (the contract's
 * minute: a probe asks every 20 s).
 */
enum { READINESS_CONNECTION_MS = 60 * 1000 };

enum readiness {
    READINESS_READY,
    READINESS_STOPPING,
    READINESS_NO_DATABASE,
    READINESS_NO_CONNECTION, /* it is reached, but takes no new connection */
    READINESS_NOT_IN_GROUP,
};

/* The first that holds, in the order STOPPING to NOT_IN_GROUP. now_ms: clock_ms(). Any thread. */
enum readiness readiness_judge(const struct service_metrics *metrics, int64_t now_ms);

/* "ready", or one sentence; lives for ever. */
const char *readiness_text(enum readiness readiness);

#endif
