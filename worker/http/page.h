#ifndef WORKER_HTTP_PAGE_H
#define WORKER_HTTP_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/http/snapshot.h"
#include "worker/metrics/service_metrics.h"

/*
 * The status page: one HTML document with its style inside, no script, nothing
 * from elsewhere. It says how this worker is, shows what all workers do (the
 * newest runs, as `runs list` shows them) and where this worker's partitions
 * stand, and asks for itself again every few seconds.
 *
 * Pure: what is known goes in. Text from the database is escaped here.
 */
struct page_facts {
    const char *worker; /* host and pid */
    const char *version;
    const char *state; /* "ready", or what it is not ready for */
    bool ready;
    int64_t busy_slots, all_slots, open_events;
    int64_t now_ms, now_us; /* clock_ms(), clock_utc_us() */
    const struct service_partition *partitions;
    size_t n_partitions;
    const struct snapshot_view *database;
};

/*
 * Appends to out. ERROR_RETRY: memory is out, or the snapshot's runs are no
 * JSON; out is of no use then.
 */
bool page_write(const struct page_facts *facts, struct strbuf *out, struct error *err) MUST_USE;

/* The page's style sheet, for who allows it by its hash. */
const char *page_style(void);

#endif
