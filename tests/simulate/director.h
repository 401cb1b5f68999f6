#ifndef TESTS_SIMULATE_DIRECTOR_H
#define TESTS_SIMULATE_DIRECTOR_H

#include <stdbool.h>

/*
 * The director: what happens in a schedule. People join and leave segments, publishers
 * publish, and everything fails now and then; then all trouble ends, each segment is
 * refreshed, and in the end everything must be as it should be. Some schedules are calm:
 * nothing fails in them, and nothing may be sent twice.
 */
void director_begin(void);

/* A fiber's function: the whole schedule. */
void *director_run(void *unused);

#endif
