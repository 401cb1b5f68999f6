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
 * The status pages: HTML documents made here, whole without a script, with their
 * style inside and nothing from elsewhere. A small script renews them in place;
 * without it the browser loads them again every few seconds.
 *
 *     /                  exports first, then runs, accounts, dead letters, this worker
 *     /export?name=NAME  one export and its newest runs
 *     /run?id=ID         one run, and what became of its members
 *
 * They show names, numbers and reasons: no address, no attribute, no secret. Pure:
 * what is known goes in. Text from the database is escaped here.
 */
struct page_facts {
    const char *worker; /* host and pid */
    const char *version;
    const char *state; /* "ready", or what it is not ready for */
    bool ready;
    int64_t busy_slots, all_slots, open_events;
    int64_t letters_waiting;                  /* dead letters, of this worker */
    int64_t event_blocked_ms, run_blocked_ms; /* clock_ms() when a lock was met last; 0: never */
    int64_t now_ms, now_us;                   /* clock_ms(), clock_utc_us() */
    const struct service_partition *partitions;
    size_t n_partitions;
    const struct snapshot_view *database;
};

/*
 * All append to out. ERROR_RETRY: memory is out, or the snapshot's lists are no JSON; out
 * is of no use then. An export or a run that the snapshot does not have gets a page that
 * says so, and *found is false.
 */
bool page_write(const struct page_facts *facts, struct strbuf *out, struct error *err) MUST_USE;
bool page_write_export(const struct page_facts *facts, const char *name, struct strbuf *out,
                       bool *found, struct error *err) MUST_USE;
bool page_write_run(const struct page_facts *facts, int64_t run_id, struct strbuf *out, bool *found,
                    struct error *err) MUST_USE;

/* Style sheet and script of every page, for a policy that allows them by their hash. */
const char *page_style(void);
const char *page_script(void);

#endif
