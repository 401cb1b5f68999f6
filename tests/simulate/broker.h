#ifndef TESTS_SIMULATE_BROKER_H
#define TESTS_SIMULATE_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/simulate/scale.h"
#include "worker/kafka/consumer.h"

/*
 * The broker: the topic of refresh events with its partitions, the consumer group with what
 * it has committed, and what was written to the other topics.
 *
 * The group balances as Kafka's does cooperatively: a partition is taken from its owner
 * first, and given to the next one when that has given it back, or was silent for the
 * session's time. A member that was silent hears that it lost its partitions when it wakes.
 *
 * A commit is where the product's first promise is checked: everything below it has ended.
 */
enum { RECORDS_MAX = 128, VALUE_BYTES = 256, KEY_BYTES = 8 };

struct broker_record {
    int64_t timestamp_ms;
    int event;   /* ce_id; 0: a plain event */
    int segment; /* its key */
    bool tombstone;
    bool ended; /* there is nothing to wait for */
    char value[VALUE_BYTES];
};

struct broker_partition {
    struct broker_record records[RECORDS_MAX];
    int64_t n;
    int64_t committed; /* -1: nothing yet */
    struct consumer *owner, *next_owner;
    bool is_given; /* the owner has accepted it */
};

extern struct broker_partition broker_partitions[PARTITIONS];

void broker_begin(void);

/* What keeps the group: heartbeats, rebalances, commits. Returns when broker_stop() was called. */
void *broker_run(void *unused);
void broker_stop(void);

/* Publishing: the record is the caller's to fill but for its timestamp. NULL: full. */
struct broker_record *broker_append(int partition);
void broker_published(void);

/* Deletes the topic and makes it again: offsets begin at 0, and what was committed is forgotten. */
void broker_make_topic_again(void);

/* Nobody is heard for a while: no records, no commits, nothing is written. */
void broker_is_away(int64_t ms);
bool broker_answers(void);

/* Everyone's part is shuffled. */
void broker_rebalance(void);

/* The record needs no row, or has none that is open. */
void broker_note_end(int32_t partition, int64_t offset, int64_t timestamp_ms);

/* What was written: dead letters by the record that died, outcomes by run and epoch. */
void broker_write(const char *topic, const struct record *record);
void producers_begin(int lost_permille); /* so many are reported as not written */
bool broker_has_letter(int32_t partition, int64_t offset);
bool broker_has_outcome(int64_t run, int64_t epoch, int segment);

/* All records have ended, and everything is committed. */
bool broker_is_done(void);

/* ---- the group, for consumer.c ---- */

void broker_join(struct consumer *consumer);
void broker_leave(struct consumer *consumer); /* with all it has */
void broker_give_back(struct consumer *consumer, int partition);
bool broker_commit(const struct consumer *consumer, int partition, int64_t offset);

/* What the broker asks of a member. */
bool consumer_is_heard(const struct consumer *consumer);
void consumer_tell(struct consumer *consumer, enum consumer_event_kind kind, unsigned partitions);
void consumer_tell_reset(struct consumer *consumer, int partition);
void consumer_tell_committed(struct consumer *consumer, int partition, int64_t offset);
int64_t consumer_stored(const struct consumer *consumer, int partition); /* -1: nothing */
void consumer_is_fenced(struct consumer *consumer); /* it is no member any more */
void consumer_news(struct consumer *consumer);

#endif
