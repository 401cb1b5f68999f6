#ifndef WORKER_EXPORT_PLAN_H
#define WORKER_EXPORT_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/export/guards.h"
#include "worker/store/runs.h"

/*
 * The plan of a run: reads the members, decides which are sent, and puts them
 * into the outbox as batches. It runs on a thread of its own, with two reading
 * connections and a writing one, opened together and open only while it plans; it
 * never waits for Klaviyo, so the snapshot it reads under lasts seconds.
 *
 *     connect ──► count ──► read and batch ──► last batches ──► counts final
 *
 * It begins only when it has all of them at the same time, a snapshot open on the
 * two and the third free to write, so that many plans behind a pooler's small
 * pool never hold all of it with their snapshots: the last ones wait, without a
 * connection, until others are done. The wait has no time-out of its own; the run is
 * waiting meanwhile, and its retry budget is not used.
 *
 * The deliverer learns of batches from the database alone; the plan only
 * signals wakeup_fd when there may be new ones or it has ended.
 */
struct plan;

struct plan_options {
    struct secret_source database_url;
    const struct run_task *task; /* outlives the plan */
    int wakeup_fd;
    int64_t lease_ms;
};

enum plan_outcome {
    PLAN_DONE,              /* where the export's limit was exceeded, without the batches over it */
    PLAN_SOURCE_UNREADABLE, /* the site's view has an error; the error has the SQLSTATE */
    PLAN_INTERRUPTED, /* the database was lost, the run lost or the plan stopped: take again */
};

/* NULL when out of memory or threads. */
struct plan *plan_start(const struct plan_options *options, struct error *err) MUST_USE;

/* Asks it to end; cancels the statements it waits for. Any thread. */
void plan_stop(struct plan *plan);

/* What is known so far for the guards of the run; nothing that Klaviyo says. Any thread. */
struct guards_facts plan_facts(struct plan *plan);

/* clock_ms() since when it has waited for connections; 0: it does not. */
int64_t plan_waiting_since_ms(const struct plan *plan);

/* Any thread. */
bool plan_has_ended(const struct plan *plan);

/* Once it has ended; why is written where it is not DONE. */
enum plan_outcome plan_result(const struct plan *plan, struct error *why);

/* The counts so far; batches: how many were planned. */
struct run_counts plan_counts(const struct plan *plan);
int64_t plan_batches(const struct plan *plan);

/* Stops it and waits for its thread. */
void plan_free(struct plan *plan);
DEFINE_OWNER(plan)

#endif
