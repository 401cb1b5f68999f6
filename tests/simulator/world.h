#ifndef SIMULATOR_WORLD_H
#define SIMULATOR_WORLD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "tests/simulator/account.h"
#include "tests/simulator/behaviour.h"
#include "tests/simulator/diary.h"
#include "tests/simulator/fault.h"
#include "tests/simulator/job.h"
#include "tests/simulator/list.h"
#include "tests/simulator/received.h"
#include "tests/simulator/reject.h"

/*
 * The world: all that the simulator knows, behind one lock. Every function
 * that takes a world wants the lock held, except where it says otherwise.
 */
struct world {
    pthread_mutex_t lock;
    struct behaviour behaviour;
    struct accounts accounts;
    struct lists lists;
    struct jobs jobs;
    struct rejects rejects;
    struct faults faults;
    struct diary diary;
    struct received received;
    struct traffic unmatched; /* requests without a known key or path */
    uint64_t epoch;           /* counts resets: what was looked up before is gone */
    atomic_bool ending;       /* nobody is to sleep any longer */
};

/* max_diary: how many diary entries are kept. Without the lock. */
void world_init(struct world *world, size_t max_diary);

/* As it was in the beginning, but for the numbers of the diary. */
void world_reset(struct world *world);

/* Without the lock; shorter if the world is ending. */
void world_sleep_ms(struct world *world, int ms);

/* Without the lock; no other thread may be left. */
void world_release(struct world *world);

#endif
