#ifndef WORKER_INGEST_OFFSETS_H
#define WORKER_INGEST_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * Which offset may be committed, per partition.
 *
 * A partition that is assigned gets an epoch, a number never used before.
 * Within an epoch events are delivered in ascending order, and end in any
 * order. The watermark is the lowest open offset or, with nothing open, the
 * next one to come: everything below it has ended. It never goes back within
 * an epoch, and what ended under an older epoch changes nothing.
 *
 * A delivery below the next expected offset is never taken for a duplicate,
 * even where that offset is open: the topic may have been deleted and created
 * again, and the record there is another one. It begins a new epoch; the
 * caller, which knows the records (by topic, partition, offset and timestamp),
 * recognises those that it has seen. librdkafka repeats no record within an epoch.
 *
 * Only open offsets are kept (8 bytes each), so one that stays open for hours
 * costs the same as any other, whatever ends behind it.
 */
struct offsets;

/* NULL: out of memory. Free with offsets_free(), which accepts NULL. */
struct offsets *offsets_new(void) MUST_USE;
void offsets_free(struct offsets *offsets);

/* False: out of memory. A partition that was assigned already starts over. */
bool offsets_assign(struct offsets *offsets, int32_t partition) MUST_USE;

/*
 * Forgets the partition and its open offsets; ends that come later change nothing. Returns the
 * epoch that it had; -1: it was not assigned.
 */
int64_t offsets_revoke(struct offsets *offsets, int32_t partition);

enum offsets_delivery {
    OFFSETS_OPENED,
    OFFSETS_REWOUND,   /* opened, in a new epoch: the partition begins again at a lower offset */
    OFFSETS_NOT_OURS,  /* partition is not assigned */
    OFFSETS_NO_MEMORY, /* nothing changed */
};

/* *epoch is written when the offset was opened. The first delivery sets the start. */
enum offsets_delivery offsets_deliver(struct offsets *offsets, int32_t partition, int64_t offset,
                                      int64_t *epoch) MUST_USE;

/* False: not open in that epoch (late, or ended twice), nothing changed. */
bool offsets_end(struct offsets *offsets, int32_t partition, int64_t epoch, int64_t offset);

/* The partition's end: everything below offset has been delivered. */
void offsets_reached(struct offsets *offsets, int32_t partition, int64_t offset);

struct offsets_move {
    int32_t partition;
    int64_t watermark;
    bool first; /* of this epoch: where the partition begins for us */
};

/* True: one partition whose watermark has moved since it was last taken. */
bool offsets_take_move(struct offsets *offsets, struct offsets_move *move) MUST_USE;

/* False also where the epoch is not the partition's present one. */
bool offsets_is_open(const struct offsets *offsets, int32_t partition, int64_t epoch,
                     int64_t offset) MUST_USE;
size_t offsets_n_open(const struct offsets *offsets);                       /* of all partitions */
size_t offsets_n_open_of(const struct offsets *offsets, int32_t partition); /* 0: not assigned */

/* The i-th assigned partition, in order of number; false past the last. */
struct offsets_view {
    int32_t partition;
    int64_t watermark; /* -1: nothing delivered yet */
    size_t open;
};
bool offsets_look(const struct offsets *offsets, size_t i, struct offsets_view *view) MUST_USE;

DEFINE_OWNER(offsets)

#endif
