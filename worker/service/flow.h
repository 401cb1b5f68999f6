#ifndef WORKER_SERVICE_FLOW_H
#define WORKER_SERVICE_FLOW_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/settings.h"
#include "worker/service/intake.h"
#include "worker/service/metrics.h"

/*
 * The flow of events, on the control thread:
 *
 *     consumer --message--> offset opened --> intake --ended--> offset stored
 *                                               |                 ^
 *                                             dead --> letter ----+
 *
 * On a revocation what has ended is stored, and the partitions are gone at
 * once: runs go on where they are, and the partitions' new owner waits for the
 * same ends. Of lost partitions nothing is stored.
 *
 * It turns when told to and never waits.
 */
struct flow;

/* Joins the group. The ports and metrics outlive it. */
struct flow *flow_new(const struct settings *settings, const struct intake_ports *ports,
                      struct service_metrics *metrics, struct error *err) MUST_USE;
void flow_free(struct flow *flow);

/* What poll() is to wait for before the next turn. */
enum { FLOW_DESCRIPTORS = 3 };
size_t flow_wait_for(const struct flow *flow, struct pollfd *fds);

/* True: there is more to do at once than the last turn did. */
bool flow_has_more(const struct flow *flow);

/* False: this process cannot go on. */
bool flow_turn(struct flow *flow, struct error *err) MUST_USE;

/* From now on messages stay in Kafka; what is open goes on to its end. */
void flow_take_no_more(struct flow *flow);

size_t flow_open(const struct flow *flow);    /* events that have not ended */
size_t flow_letters(const struct flow *flow); /* of them: dead letters not acknowledged yet */

/* Leaves the group; go on turning until it has left. */
bool flow_leave(struct flow *flow, struct error *err) MUST_USE;
bool flow_has_left(struct flow *flow);

DEFINE_OWNER(flow)

#endif
