#ifndef WORKER_STORE_OVERVIEW_H
#define WORKER_STORE_OVERVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"
#include "worker/store/freshness.h"
#include "worker/store/history.h"

/*
 * What all workers together have before them, in a few numbers, their newest
 * runs and those in progress: what the status page shows.
 */
struct overview {
    int64_t queued;          /* runs */
    int64_t running;         /* with those that wait */
    int64_t waiting;         /* of the running: for a limit, or for a worker */
    int64_t oldest_queued_s; /* how long the oldest one waits; 0: none does */
    /* The same of those that any free slot may take: no run of the export is going on, and no
     * run takes people off the list. */
    int64_t oldest_startable_s;
    int64_t attention; /* connections that need it */
    /* For what runs wait; those for a key may be queued. */
    int64_t waiting_for_klaviyo, waiting_for_limit, waiting_for_database, waiting_for_list,
        waiting_for_key;
    int64_t oldest_outcome_s; /* how long the oldest outcome waits for Kafka; 0: none does */
};

enum { OVERVIEW_RUNS = 100, OVERVIEW_TIMEOUT_MS = 2000 };

/* JSON, as of history_list(), export_view_list() and status_report_read(). */
struct overview_lists {
    char *runs; /* OVERVIEW_RUNS and as many in progress, as shown_runs.h has them; newest first */
    char *exports;
    char *report;
    struct freshness freshness;
};

/*
 * All as of one moment. *lists: the caller's, to be released. Given up after
 * OVERVIEW_TIMEOUT_MS a statement.
 */
bool overview_read(struct db *db, struct overview *overview, struct overview_lists *lists,
                   struct error *err) MUST_USE;

/* history_list() with the same time-out. *runs: JSON, the caller's. */
bool overview_runs(struct db *db, const struct history_filter *filter, char **runs,
                   struct error *err) MUST_USE;

/* Frees the lists; they are NULL then. */
void overview_lists_release(struct overview_lists *lists);

#endif
