#ifndef WORKER_EXPORT_DELIVERY_LOOP_H
#define WORKER_EXPORT_DELIVERY_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/export/control.h"
#include "worker/klaviyo/client.h"
#include "worker/metrics/run_metrics.h"
#include "worker/settings/settings.h"
#include "worker/store/db.h"
#include "worker/store/runs.h"

/*
 * The delivery loop: takes the batches of a run from the outbox to Klaviyo.
 *
 * The loop around a delivery (delivery.h): responses go in, effects are
 * performed in order. It owns the run: renews its lease, checks its retry
 * budget, begins and follows the plan, follows the process, and says what
 * becomes of the run.
 * All of it happens on the caller's thread, with one database connection and
 * one client.
 */
struct delivery_loop_options {
    const struct settings *settings;
    const struct run_task *task;
    struct run_control *control;
    struct run_metrics *run_metrics;
    struct db *db;
    struct client *client;
    int wakeup_fd;      /* signalled by the plan and by the control */
    int64_t taken_ms;   /* clock_ms() before the run was taken */
    const int *stop_fd; /* NULL, or readable: this run is to be given back */
};

enum delivery_loop_outcome {
    DELIVERY_LOOP_DONE,         /* every batch is confirmed or its rows are rejected */
    DELIVERY_LOOP_FAILED,       /* reason and detail say why */
    DELIVERY_LOOP_CANCELLED,    /* somebody asked for it; detail says who and what had been sent */
    DELIVERY_LOOP_DRAINED,      /* the process ends, or stop_fd: the run is to be given back */
    DELIVERY_LOOP_PARKED,       /* nothing to do for a while: the slot is free for others */
    DELIVERY_LOOP_RELINQUISHED, /* run lost, or database unreachable: detail says why */
};

struct delivery_loop_result {
    enum delivery_loop_outcome outcome;
    enum run_reason reason; /* NONE unless FAILED or CANCELLED */
    char detail[1536];
    bool key_refused;                /* the connection is to be marked */
    struct run_parking parking;      /* of PARKED */
    enum error_kind relinquish_kind; /* RETRY, LOST, or FATAL for a mistake of ours */
};

/*
 * Returns when the delivery is over for this owner; never fails by itself:
 * *result says how it ended. What the outcome asks for (end, give back, park)
 * is the caller's to write. No request is in flight and no plan going on
 * afterwards.
 */
void delivery_loop_run(const struct delivery_loop_options *options,
                       struct delivery_loop_result *result);

#endif
