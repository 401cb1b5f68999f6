#ifndef TESTS_SIMULATE_TRACE_H
#define TESTS_SIMULATE_TRACE_H

#include <stdbool.h>

#include "common/cleanup.h"

/*
 * The trace of one schedule: what happened, when, to which process; and the product's own
 * log lines among it. Written only where it was asked for (--seed).
 */
void trace_turn_on(bool on);
bool trace_is_on(void);

/* One line: the time, the process that runs, the text. */
void trace(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * A promise of the product. Where it is broken the schedule ends at once, and what broke
 * it is told; must() does not return then.
 */
void must(bool kept, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The first promise that the schedule broke; NULL: none. */
const char *trace_broken(void);
void trace_begin(void);

#endif
