#ifndef WORKER_KAFKA_RECORD_LOOKUP_H
#define WORKER_KAFKA_RECORD_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/kafka/record.h"
#include "worker/settings/settings.h"

/*
 * Single records of the topic of refresh events, by partition and offset, outside
 * of the consumer group. One at a time: those of a partition in ascending order
 * cost little more than reading on. Never waits, but for a question (100 ms at most) every ten
 * seconds while nothing comes; belongs to one thread.
 */
struct record_lookup;

enum record_lookup_result {
    RECORD_LOOKUP_PENDING, /* not yet; the descriptor becomes readable */
    RECORD_LOOKUP_FOUND,
    RECORD_LOOKUP_GONE, /* deleted, or the topic is no longer what it was */
};

/* An unreachable broker is no error here: it is waited for. */
struct record_lookup *record_lookup_new(const struct settings *settings, struct error *err)
    MUST_USE;
void record_lookup_free(struct record_lookup *lookup);

/* The same in the background. Accepts NULL. */
void record_lookup_retire(struct record_lookup *lookup);

/* Readable once record_lookup_poll() has something to do. */
int record_lookup_fd(const struct record_lookup *lookup);

/* The record that is wanted from now on. */
void record_lookup_want(struct record_lookup *lookup, int32_t partition, int64_t offset);

/*
 * FOUND: *record is lent until the next call. After FOUND or GONE nothing is wanted any more. Call
 * it also if nothing is wanted, at least every second: librdkafka's callbacks are served there.
 * now_ms: clock_ms(). A record behind the partition's end is GONE once that end has stood
 * for 30 s and was asked for again: a leader that has just become one may not know of it yet.
 * So is one whose partition nothing came from for 30 s and no broker knew for 20 of them. A
 * partition without a leader is PENDING without limit: its records may come back.
 */
enum record_lookup_result record_lookup_poll(struct record_lookup *lookup, int64_t now_ms,
                                             const struct record **record) MUST_USE;

/* Nothing is wanted for now: fetches nothing ahead. */
void record_lookup_rest(struct record_lookup *lookup);

#endif
