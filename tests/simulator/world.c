#include "tests/simulator/world.h"

#include <string.h>
#include <time.h>

void world_init(struct world *world, size_t max_diary)
{
    memset(world, 0, sizeof *world);
    world->diary.max = max_diary;
    pthread_mutex_init(&world->lock, NULL);
    behaviour_init(&world->behaviour);
}

/* Jobs and lists point to accounts: they go first. */
static void forget_all(struct world *world)
{
    jobs_release(&world->jobs);
    lists_release(&world->lists);
    accounts_release(&world->accounts);
    rejects_release(&world->rejects);
    faults_release(&world->faults);
    diary_release(&world->diary);
    received_release(&world->received);
    traffic_release(&world->unmatched);
}

void world_reset(struct world *world)
{
    forget_all(world);
    behaviour_init(&world->behaviour);
    world->epoch++;
}

void world_sleep_ms(struct world *world, int ms)
{
    enum { SLICE_MS = 10 };
    struct timespec slice = { .tv_nsec = SLICE_MS * 1000000L };

    for (int slept = 0; slept < ms && !atomic_load(&world->ending); slept += SLICE_MS)
        (void)nanosleep(&slice, NULL);
}

void world_release(struct world *world)
{
    forget_all(world);
    pthread_mutex_destroy(&world->lock);
}
