#ifndef WORKER_SERVICE_HOUSEKEEPING_H
#define WORKER_SERVICE_HOUSEKEEPING_H

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/settings/settings.h"

/*
 * Housekeeping: a thread that ends requests whose end was missed (every half
 * minute) and deletes what is older than RETENTION_DAYS (every ten minutes), and
 * outcomes that no worker sends where KAFKA_OUTCOME_TOPIC is empty. It
 * has a connection only while it works, and belongs to no run slot: it is done
 * even where all slots always have a run.
 */
struct housekeeping;

/* The settings outlive it. NULL: no memory or no thread. */
struct housekeeping *housekeeping_start(const struct settings *settings, struct error *err)
    MUST_USE;

/* Stops it and waits for its thread. */
void housekeeping_free(struct housekeeping *housekeeping);

#endif
