#ifndef WORKER_INGEST_INGEST_H
#define WORKER_INGEST_INGEST_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "worker/ingest/intake.h"
#include "worker/metrics/service_metrics.h"
#include "worker/settings/settings.h"

/*
 * The ingest of events, on the control thread:
 *
 *     consumer --message--> offset opened --> intake --ended--> offset stored
 *                                               |                 ^
 *                                             dead --> letter ----+
 *
 * On a revocation what has ended is stored, and the partitions are gone at
 * once: runs continue where they are, and the partitions' new owner waits for the
 * same ends. Of lost partitions nothing is stored.
 *
 * It turns when ingest_turn() is called and never waits.
 */
struct ingest;

/* Joins the group. The ports and metrics outlive it. */
struct ingest *ingest_new(const struct settings *settings, const struct intake_ports *ports,
                          struct service_metrics *metrics, struct error *err) MUST_USE;

/* With the events that are open; their rows stay in the database. NULL is accepted. */
void ingest_free(struct ingest *ingest);

/* What poll() is to wait for before the next turn. */
enum { INGEST_DESCRIPTORS = 4 };

/* fds has room for INGEST_DESCRIPTORS; how many were filled. */
size_t ingest_wait_for(const struct ingest *ingest, struct pollfd *fds);

/* True: there is more to do at once than the last turn did. */
bool ingest_has_more(const struct ingest *ingest);

/* False: this process cannot continue. */
bool ingest_turn(struct ingest *ingest, struct error *err) MUST_USE;

/* From now on messages stay in Kafka; open events continue to their end. */
void ingest_stop_intake(struct ingest *ingest);

/* Events that have not ended, and of them those whose dead letter is not acknowledged yet. */
size_t ingest_n_open(const struct ingest *ingest);
size_t ingest_dead_letters(const struct ingest *ingest);

/* Those whose letter is acknowledged, but whose row does not say so yet. */
size_t ingest_unmarked(const struct ingest *ingest);

/* Leaves the group; keep calling ingest_turn() until it has left. */
bool ingest_leave(struct ingest *ingest, struct error *err) MUST_USE;

/* True: the partitions are given back, and the group knows. */
bool ingest_has_left(struct ingest *ingest);

#endif
