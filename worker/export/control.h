#ifndef WORKER_EXPORT_CONTROL_H
#define WORKER_EXPORT_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The orders that the process gives its runs, and their signs of life. Written by
 * one side, read by the other, each value by itself; shared by all run slots.
 */
struct run_control {
    atomic_llong drain_ms;    /* 0: continue; else clock_ms() until when responses are waited for */
    atomic_bool cut_off;      /* relinquish runs at once */
    atomic_llong progress_ms; /* clock_ms() of the last progress of any run */
    atomic_llong busy_slots;  /* run slots that execute a run */
    atomic_llong run_poll_ms; /* clock_ms() of the last poll of an idle slot for a run */
    atomic_llong run_blocked_ms; /* clock_ms() when a lock held up a run last; 0: never */
};

#endif
