#ifndef COMMON_WAKEUP_H
#define COMMON_WAKEUP_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * A wake-up: a descriptor (an eventfd) that becomes readable when another thread
 * has something to say. It carries no data: the thread that wakes checks all sources.
 * Close it with close().
 */

/* -1 with err (ERROR_FATAL: no descriptor is free). */
int wakeup_open(struct error *err) MUST_USE;

/* Any thread, also a signal handler; errno is kept. */
void wakeup_signal(int fd);

/* True: it had been signalled since it was cleared last. */
bool wakeup_clear(int fd);

#endif
