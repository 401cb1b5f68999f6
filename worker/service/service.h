#ifndef WORKER_SERVICE_SERVICE_H
#define WORKER_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/ingest/intake.h"
#include "worker/metrics/service_metrics.h"
#include "worker/settings/settings.h"

/*
 * The service: one loop on the control thread that owns the consumer, the
 * offset tracker, the dead letters, the signals and the clock tick. It never
 * waits for more than 100 ms, and never talks to PostgreSQL or Klaviyo.
 *
 *     RUNNING --a signal-> DRAINING --no slot has a run, or time is up--> CLOSING --> over
 *                             |                                       ^
 *                             +--second signal: runs are cut off -----+
 *
 * RUNNING   events in, ends out, offsets stored.
 * DRAINING  no event is taken; runs wait for requests in flight; what
 *           ends is stored.
 * CLOSING   stored offsets are committed, the group is left.
 * A deadline over all of it says what is still there and ends the process.
 */

/* The run slots, as the loop sees them; worker/service/wiring.c has the real ones. */
struct slots_ports {
    void *opaque;
    void (*drain)(void *opaque, int64_t deadline_ms); /* of clock_ms() */
    void (*cancel)(void *opaque);
    int (*busy)(void *opaque); /* slots with a run */
};

struct service_ports {
    struct intake_ports intake;
    struct slots_ports slots;
};

/*
 * Blocks SIGTERM, SIGINT, SIGQUIT and SIGHUP, which the service reads by itself,
 * and ignores SIGPIPE and SIGXFSZ (a log that cannot grow ends no run). A hang-up
 * that the parent process ignored (nohup) stays ignored. Before the first
 * thread starts, so that every thread inherits it.
 */
void service_block_signals(void);

/* A descriptor of these signals, to be closed; -1: errno says why. Logs each that it reads. */
int service_open_signals(void);
void service_read_signals(int signal_fd, int *signals); /* counts them; hang-ups only once */

/* The loop. True: a signal stopped it, cleanly. */
bool service_loop(const struct settings *settings, const struct service_ports *ports,
                  struct service_metrics *metrics, struct error *err) MUST_USE;

#endif
