#ifndef WORKER_STORE_OVERVIEW_H
#define WORKER_STORE_OVERVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * What all workers together have before them, in a few numbers, and their
 * newest runs: what the status page shows.
 */
struct overview {
    int64_t queued;          /* runs */
    int64_t running;         /* with those that wait */
    int64_t waiting;         /* of the running: for a limit, or for a worker */
    int64_t oldest_queued_s; /* how long the oldest one waits; 0: none does */
    int64_t attention;       /* connections that need it */
};

enum { OVERVIEW_RUNS = 100, OVERVIEW_TIMEOUT_MS = 2000 };

/*
 * Both as of one moment. *runs: JSON as of history_list(), the caller's. Given
 * up after OVERVIEW_TIMEOUT_MS a statement.
 */
bool overview_read(struct db *db, struct overview *overview, char **runs, struct error *err)
    MUST_USE;

#endif
