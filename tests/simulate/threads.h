#ifndef TESTS_SIMULATE_THREADS_H
#define TESTS_SIMULATE_THREADS_H

#include <stdbool.h>

/*
 * Threads, descriptors and clocks, as the product calls them, on fibers: pthread_create(),
 * poll(), clock_ms() and the like (threads.c defines __wrap_NAME for each).
 *
 * A descriptor is a number that no real one has; it is readable or not.
 */
void descriptors_begin(void);
int descriptor_new(void);
void descriptor_raise(int fd);
bool descriptor_lower(int fd); /* whether it was readable */
bool descriptor_is_raised(int fd);
const void *descriptor_key(int fd); /* for fiber_wait() */

/* UTC runs parallel to the clock; it can be set. */
void utc_set_back(long long ms);

#endif
