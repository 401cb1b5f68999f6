#ifndef WORKER_HTTP_SNAPSHOT_H
#define WORKER_HTTP_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/http/list_filter.h"
#include "worker/store/overview.h"

/*
 * What the database last said about the runs, for the status page and the
 * metrics. It is read by a thread of its own, on demand and at most once in
 * SNAPSHOT_FRESH_MS: a request never waits for the database, and the load on the
 * database does not grow with the number of requests.
 *
 * Requests for other runs than the newest are answered in the same way, each
 * separately, at most SNAPSHOT_QUESTIONS different ones at a time.
 */
struct snapshot;

enum { SNAPSHOT_FRESH_MS = 1000, SNAPSHOT_STALE_MS = 5000, SNAPSHOT_QUESTIONS = 8 };

struct snapshot_ports {
    void *opaque;
    /* *lists: JSON arrays, the caller's. Connects where there is no connection. */
    bool (*read)(void *opaque, struct overview *overview, struct overview_lists *lists,
                 struct error *err);
    /* *runs: a JSON array, the caller's. */
    bool (*read_runs)(void *opaque, const struct history_filter *filter, char **runs,
                      struct error *err);
    /* After a reading that failed: the database is there, and was given too little time. */
    bool (*was_too_slow)(void *opaque);
    void (*disconnect)(void *opaque);
};

/* Times of clock_ms(); 0: never. */
struct snapshot_view {
    int64_t read_ms;  /* when the reading began that brought what is here */
    int64_t tried_ms; /* when the last reading ended, well or not */
    bool too_slow;    /* the last reading was given up after OVERVIEW_TIMEOUT_MS */
    struct overview overview;
    struct overview_lists lists; /* NULL: never read */
};

/* done_fd (wakeup.h) is signalled when a reading has ended. The ports outlive the snapshot. */
struct snapshot *snapshot_start(const struct snapshot_ports *ports, int done_fd, struct error *err)
    MUST_USE;

/* Waits for a reading in progress: the time-outs of a connection, at most. */
void snapshot_free(struct snapshot *snapshot);

/* True: it is fresh. Else it will be read soon; returns at once. */
bool snapshot_want(struct snapshot *snapshot);

/* The same of the runs that a good filter asks for. True, too, if there is no room for the request.
 */
bool snapshot_want_runs(struct snapshot *snapshot, const struct list_filter *filter);

/* What was read of them, for the caller to free. NULL: nothing; *why_not says why. */
char *snapshot_runs(struct snapshot *snapshot, const struct list_filter *filter,
                    const char **why_not);

/* What there is; without the lists where with_lists is false. Release it. */
void snapshot_view(struct snapshot *snapshot, bool with_lists, struct snapshot_view *view);
void snapshot_view_release(struct snapshot_view *view);

/* It was read, and no longer ago than SNAPSHOT_STALE_MS. */
bool snapshot_view_is_current(const struct snapshot_view *view, int64_t now_ms);

/* A copy of the lists' freshness, which is not part of a view; the caller releases it. */
struct freshness snapshot_freshness(struct snapshot *snapshot);

#endif
