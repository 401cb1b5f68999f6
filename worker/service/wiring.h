#ifndef WORKER_SERVICE_WIRING_H
#define WORKER_SERVICE_WIRING_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/metrics/service_metrics.h"
#include "worker/service/slots.h"
#include "worker/service/startup.h"

/*
 * What the `run` command calls: the service over the real database and the
 * real run slots. The check comes before the slots start, so it may complete the
 * options. Returns when a signal stopped it cleanly, or with the
 * reason why this process cannot do its job. Call service_block_signals()
 * before the first thread starts.
 */
bool service_run(const struct slots_options *slots, const struct startup_check *check,
                 struct service_metrics *metrics, struct error *err) MUST_USE;

#endif
