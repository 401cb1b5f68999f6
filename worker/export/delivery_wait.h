#ifndef WORKER_EXPORT_DELIVERY_WAIT_H
#define WORKER_EXPORT_DELIVERY_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/export/delivery.h"
#include "worker/store/run_state.h"

/*
 * When a delivery continues, and what it waits for until then (pure: reads a delivery,
 * changes nothing). Times are milliseconds of clock_ms().
 */

/* Why a run cannot continue. */
enum wait_kind {
    WAIT_NONE,
    WAIT_RATE_LIMITED,
    WAIT_KLAVIYO_UNAVAILABLE,
    WAIT_LIST_IN_USE,          /* by another run, while people are to be taken off it */
    WAIT_DATABASE_UNAVAILABLE, /* the plan's: no connections */
};

struct delivery_wait {
    enum wait_kind kind;
    int64_t since_ms;
    int64_t until_ms; /* 0: not known */
    const char *why;  /* lent by the delivery */
};

/* As listings name it; NONE for NONE. */
enum run_reason wait_reason(enum wait_kind kind);

/* When the next effect may be due without another fact; NEVER where none is. */
int64_t delivery_due_ms(const struct delivery *delivery, int64_t now_ms);

/* How long nothing can be done but wait for a limit; 0: something can. */
int64_t delivery_waiting_ms(const struct delivery *delivery, int64_t now_ms);

/* What to report to people. */
struct delivery_wait delivery_wait(const struct delivery *delivery, int64_t now_ms);

/*
 * How long there is nothing to do while it waits, for a run that may give its
 * slot back; 0: it should keep it. *attempts: in vain, in a row.
 */
int64_t delivery_park_ms(const struct delivery *delivery, int64_t now_ms, unsigned *attempts);

#endif
