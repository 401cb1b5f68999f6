#ifndef WORKER_KAFKA_COMMITS_H
#define WORKER_KAFKA_COMMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * Which offset of each partition is to be committed next (pure; times are those
 * of clock_ms()).
 *
 * A partition's next offset waits for the answer to the one before it. librdkafka
 * sends a commit that failed once more, and by then a later one may have been
 * taken: the group's offset would go back (seen with a broker that stood still
 * for four seconds). Where a partition begins is committed by a request of its own,
 * which may go back. Every other offset is stored in librdkafka, whose timer
 * commits it unless the group is rebalancing, and repeats it until it is answered.
 */
struct commits;

/* NULL: out of memory. Free with commits_free(), which accepts NULL. */
struct commits *commits_new(void) MUST_USE;
void commits_free(struct commits *commits);

/* A partition is ours from now on, or no longer. Adding one again forgets what was. */
bool commits_add(struct commits *commits, int32_t partition) MUST_USE; /* false: out of memory */
void commits_remove(struct commits *commits, int32_t partition);

/*
 * The first offset that is not done; where the partition begins, which may be lower
 * than before: nothing is stored from then on. False: the partition is not ours.
 */
bool commits_offer(struct commits *commits, int32_t partition, int64_t offset) MUST_USE;
bool commits_offer_beginning(struct commits *commits, int32_t partition, int64_t offset,
                             int64_t now_ms) MUST_USE;

enum commits_step {
    COMMITS_NOTHING,
    COMMITS_BEGIN, /* commit it by a request of its own; say so with commits_begun() */
    COMMITS_STORE, /* store it in librdkafka */
};

/*
 * One step after the other, until COMMITS_NOTHING, which can end with time alone.
 * Partition and offset are written with a step.
 */
enum commits_step commits_next(struct commits *commits, int64_t now_ms, int32_t *partition,
                               int64_t *offset) MUST_USE;

/*
 * A partition is about to be given back. True: *offset is to be stored before; false also while
 * something is waited for.
 */
bool commits_last(struct commits *commits, int32_t partition, int64_t now_ms, int64_t *offset)
    MUST_USE;

/* What became of a COMMITS_BEGIN, and of an offset that librdkafka's timer committed. */
void commits_begun(struct commits *commits, int32_t partition, int64_t offset, bool ok,
                   int64_t now_ms);
void commits_stored(struct commits *commits, int32_t partition, int64_t offset, bool ok,
                    int64_t now_ms);

DEFINE_OWNER(commits)

#endif
