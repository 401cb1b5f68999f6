#ifndef TESTS_SIMULATE_FIBER_H
#define TESTS_SIMULATE_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * Fibers: the threads of all simulated processes, and those of the world, on one clock.
 *
 * One runs at a time, until it waits. The clock stands while one runs, and goes on to the
 * moment at which the next one is to go on: no schedule waits for real time. Where several
 * may go on, dice choose.
 *
 * A fiber of a frozen process goes on when that is over; one of a dead process at once,
 * as only its memory is to be given back: what it asks the world for is refused.
 */
struct fiber;
struct process;

enum { FIBER_KEYS_MAX = 6 };
#define FIBER_NEVER INT64_MAX

/* Forgets all fibers of the schedule before. The clock starts over. */
void fibers_begin(void);

/* Runs until none is left. False: it was abandoned. */
bool fibers_run(void);

/* Ends the run from inside a fiber, wherever they all are. Does not return. */
void fibers_abandon(void) __attribute__((noreturn));

/* process: NULL for a fiber of the world. The number is fiber_join()'s. */
size_t fiber_start(struct process *process, void *(*run)(void *), void *argument);
void fiber_join(size_t number);

/* Of the fiber that runs. */
const struct fiber *fiber_self(void);
struct process *fiber_process(void);
int64_t fiber_now_ms(void);
int64_t fiber_steps(void);

/* Waits for so long, or until one of the keys is woken. */
void fiber_sleep(int64_t ms);
void fiber_wait(const void *const *keys, size_t n, int64_t until_ms);
void fiber_wake(const void *key);

/* The same as sleep, of what is under way outside of the process: nothing freezes it. */
void fiber_travel(int64_t ms);

#endif
