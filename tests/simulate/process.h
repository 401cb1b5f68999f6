#ifndef TESTS_SIMULATE_PROCESS_H
#define TESTS_SIMULATE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A simulated process: one worker, from its start to its end. Its parts are the product's
 * own: the run slots, intake, the ingest, the outcome sender, each a fiber.
 *
 * It can be killed (nothing of it reaches the world any more; its memory is given back by
 * the product's own ways), frozen for a while, or asked to end.
 */
struct process {
    int number; /* counts on: a worker that is started again is another one */
    bool dead, stopping, over;
    int64_t frozen_until_ms;
    bool gate_is_held; /* of its plans */
};

/* Forgets the processes of the schedule before. */
void processes_begin(void);

/* NULL: there are too many. */
struct process *process_start(void);
void process_kill(struct process *process);
void process_freeze(struct process *process, int64_t ms);
void process_stop(struct process *process); /* as SIGTERM does */

/* Those that are not over; i counts from 0, NULL beyond the last. */
struct process *process_at(int i);
int processes_alive(void);

#endif
