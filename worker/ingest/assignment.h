#ifndef WORKER_INGEST_ASSIGNMENT_H
#define WORKER_INGEST_ASSIGNMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/ingest/offsets.h"
#include "worker/kafka/consumer.h"
#include "worker/metrics/service_metrics.h"

/*
 * The partitions that are ours now: their offsets, which of them are paused,
 * and what the broker has confirmed. It makes the consumer store, pause and
 * resume. Belongs to the control thread.
 *
 * An open event costs about 100 bytes here and in intake. A partition with
 * ASSIGNMENT_PARTITION_OPEN_MAX of them is paused until half have ended, so that
 * events that wait for one export do not stop another partition; with
 * ASSIGNMENT_OPEN_MAX over all of them, 10 MB, every partition is.
 *
 * librdkafka keeps a pause of ours while a partition is another worker's. So it
 * is remembered here, too, and ends like any other once the partition is back.
 */
enum { ASSIGNMENT_PARTITION_OPEN_MAX = 20 * 1000, ASSIGNMENT_OPEN_MAX = 100 * 1000 };

struct assignment;

/* metrics outlive it. NULL: out of memory. */
struct assignment *assignment_new(struct service_metrics *metrics) MUST_USE;
void assignment_free(struct assignment *assignment);

/* The partitions of an ASSIGNED event. False: out of memory. */
bool assignment_add(struct assignment *assignment, const struct consumer_event *event) MUST_USE;
/* One of a REVOKED or LOST event. Returns the epoch that it had; -1: it was not ours. */
int64_t assignment_remove(struct assignment *assignment, int32_t partition);

/*
 * Another client of Kafka from now on: nothing is assigned or paused there. The
 * partitions come out one after the other, with their epochs; false: that was the last one.
 */
bool assignment_take_any(struct assignment *assignment, int32_t *partition, int64_t *epoch)
    MUST_USE;

/* As offsets_deliver() and its fellows. */
enum offsets_delivery assignment_deliver(struct assignment *assignment, int32_t partition,
                                         int64_t offset, int64_t *epoch) MUST_USE;
void assignment_end(struct assignment *assignment, int32_t partition, int64_t epoch,
                    int64_t offset);
void assignment_reached(struct assignment *assignment, int32_t partition, int64_t offset);

/* The offset at which a partition was to continue is out of range. */
void assignment_note_reset(struct assignment *assignment, int32_t partition, int64_t offset);

/*
 * It continues at offset. True: *from is where it should have, and what stood in
 * between was deleted without having been read.
 */
bool assignment_take_gap(struct assignment *assignment, int32_t partition, int64_t offset,
                         int64_t *from) MUST_USE;

/* Notes the offsets of a COMMITTED event. */
void assignment_committed(struct assignment *assignment, const struct consumer_event *event);

/* Every watermark that moved is to be committed. */
void assignment_store(struct assignment *assignment, struct consumer *consumer);

/* True: that event is open, under the partition's present epoch. */
bool assignment_is_open(const struct assignment *assignment, int32_t partition, int64_t epoch,
                        int64_t offset) MUST_USE;

/* Too many events of that partition, or of all, are open: no more should come. */
bool assignment_is_full(struct assignment *assignment, int32_t partition) MUST_USE;

/* Pauses a partition that has just delivered a message; resumes what is paused and not full. */
void assignment_pause(struct assignment *assignment, struct consumer *consumer, int32_t partition);
void assignment_resume(struct assignment *assignment, struct consumer *consumer);

/* A snapshot for the metrics. */
void assignment_publish(const struct assignment *assignment, struct consumer *consumer,
                        struct service_metrics *metrics);

/* One line with the event's partitions. */
void assignment_log(const char *name, const struct consumer_event *event);

#endif
