#ifndef WORKER_INGEST_INTAKE_H
#define WORKER_INGEST_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/ingest/intake_work.h"
#include "worker/ingest/pending_event.h"
#include "worker/metrics/service_metrics.h"

/*
 * Intake: a thread that owns one database connection and takes events into it.
 *
 * Whole lists of events go in and come out; the holder of an event owns it.
 *
 *     intake_submit() --> accepted, one commit per batch --> ended? --> out
 *                                   |
 *                                 waits for its runs --> out
 *
 * An unreachable database is waited for without limit: events stay where they
 * are.
 */
struct intake;

/* Starts the thread. ports, metrics and what they point to outlive it. */
struct intake *intake_start(const struct intake_ports *ports, struct service_metrics *metrics,
                            struct error *err) MUST_USE;

/* Ends and joins the thread; events it still holds are freed. */
void intake_free(struct intake *intake);

/* Takes all events of the list: NEW ones to accept, DEAD_LETTERED ones to mark. */
void intake_submit(struct intake *intake, struct pending_event_list *events);

/*
 * Events of that partition that were submitted and wait come back as DROPPED:
 * its new owner gets them too. DEAD_LETTERED ones are marked all the same.
 */
void intake_drop(struct intake *intake, int32_t partition);

/* The worker stops: letters that a lock keeps from being marked are tried again soon. */
void intake_hurry(struct intake *intake);

/* DEAD_LETTERED events that were submitted and have not come out as DONE. */
size_t intake_unmarked(struct intake *intake);

/* Readable once something has come out. */
int intake_fd(const struct intake *intake);

/* What has come out: events, and how many records were given away and how large they were. */
struct intake_output {
    struct pending_event_list events;
    size_t released_events, released_bytes;
};

/* Never waits. The events are the caller's; the two numbers are for admission_give(). */
struct intake_output intake_collect(struct intake *intake);

#endif
