#ifndef TESTS_SIMULATE_CHECKS_H
#define TESTS_SIMULATE_CHECKS_H

/*
 * What must be true when all trouble has ended and each segment was refreshed after it. What
 * must be true at every moment is checked where it happens: see must().
 */

/* Lists are their members, with their newest values; each run's outcome was sent. */
void check_end(void);

/* Of a schedule without any trouble: nothing failed, nothing was sent twice. */
void check_calm(void);

#endif
