#ifndef WORKER_KAFKA_CONSUMER_H
#define WORKER_KAFKA_CONSUMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/kafka/record.h"
#include "worker/settings/settings.h"

/*
 * A member of the consumer group on the topic of refresh events.
 *
 * Everything it has to say comes as an event through consumer_next(), in
 * order. Nothing it does waits for a broker, so that the loop that owns it
 * turns through any outage. It belongs to one thread.
 *
 * Which offset may be committed is not its business: it commits, in the
 * background and when partitions are given back, the offsets last passed to
 * consumer_store() or consumer_begin().
 */
struct consumer;

enum consumer_event_kind {
    CONSUMER_NONE,      /* nothing now; the descriptor becomes readable when there is */
    CONSUMER_MESSAGE,   /* record */
    CONSUMER_ASSIGNED,  /* partitions: ours from consumer_accept() on */
    CONSUMER_REVOKED,   /* partitions: store what has ended, then consumer_unassign() */
    CONSUMER_LOST,      /* partitions: as REVOKED, but somebody else may have them: store nothing */
    CONSUMER_RESET,     /* partition, offset: where it was to go on is out of range */
    CONSUMER_END,       /* partition, offset: everything below it has been delivered */
    CONSUMER_COMMITTED, /* partitions with the offsets that the broker now has */
    CONSUMER_ERROR,     /* error; librdkafka tries again by itself unless fatal */
};

struct consumer_partition {
    int32_t partition;
    int64_t offset; /* -1 where there is none */
};

struct consumer_error {
    const char *code; /* librdkafka's name, such as "_ALL_BROKERS_DOWN" */
    const char *text;
    const char *hint; /* what to do about it, or NULL */
    bool passing;     /* brokers out of reach: information, no fault of ours */
    bool fatal;       /* this consumer will never work again */
    bool of_commit;   /* stored offsets were not committed */
};

/* What an event points to is lent until consumer_done(). */
struct consumer_event {
    enum consumer_event_kind kind;
    struct record record;
    int32_t partition;
    int64_t offset;
    size_t partitions_n; /* read them with consumer_event_partition() */
    struct consumer_error error;
    void *handle;
};

/* i < event->partitions_n. */
struct consumer_partition consumer_event_partition(const struct consumer_event *event, size_t i);

/* Joins the group. An unreachable broker is no error here: it is waited for. */
struct consumer *consumer_new(const struct settings *settings, struct error *err) MUST_USE;

/*
 * Ends the process's part in librdkafka within two seconds: what librdkafka
 * 2.0.2 then still holds (it can hang after a deleted topic) is left behind.
 */
void consumer_free(struct consumer *consumer);

/* The same in the background: for a consumer that another one replaces. */
void consumer_retire(struct consumer *consumer);

/* False: no client can be made with the settings, and err says why. Joins nothing. */
bool consumer_check(const struct settings *settings, struct error *err) MUST_USE;

/* Readable once events are there. Read consumer_next() until NONE before waiting for it again. */
int consumer_fd(const struct consumer *consumer);

/* Never waits. Every event but NONE is given back with consumer_done() before the next. */
void consumer_next(struct consumer *consumer, struct consumer_event *event);
void consumer_done(struct consumer *consumer, struct consumer_event *event);

/* The answers to ASSIGNED, and to REVOKED or LOST. Give each exactly once, at once. */
bool consumer_accept(struct consumer *consumer, const struct consumer_event *event,
                     struct error *err) MUST_USE;
bool consumer_unassign(struct consumer *consumer, const struct consumer_event *event,
                       struct error *err) MUST_USE;

/*
 * offset: the first one that is not done. It is committed in order, within half a second
 * where the broker answers promptly: commits.h says how. False: the partition is not ours (any
 * more), which is an ordinary outcome.
 */
bool consumer_store(struct consumer *consumer, int32_t partition, int64_t offset) MUST_USE;

/*
 * The same for where a partition begins for us: also backwards, for one that was made
 * again or whose old records are gone.
 */
bool consumer_begin(struct consumer *consumer, int32_t partition, int64_t offset) MUST_USE;

/* Messages of that partition stop, or go on where they stopped. */
bool consumer_pause(struct consumer *consumer, int32_t partition, struct error *err) MUST_USE;
bool consumer_resume(struct consumer *consumer, int32_t partition, struct error *err) MUST_USE;

/*
 * When it was last a member of the group with nothing left to negotiate, by
 * clock_ms(); it checks every five seconds. A coordinator out of reach ends
 * that once the session is over (session.timeout.ms).
 */
int64_t consumer_member_ms(const struct consumer *consumer);

/* End of the partition as far as this consumer has heard; -1: nothing heard yet. */
int64_t consumer_end_offset(struct consumer *consumer, int32_t partition);

/*
 * Leaves the group: stored offsets are committed, partitions come back as
 * REVOKED events. Go on with consumer_next() until consumer_closed().
 */
bool consumer_close(struct consumer *consumer, struct error *err) MUST_USE;

/* True: the group has been left. Go on with consumer_next() until then. */
bool consumer_closed(struct consumer *consumer);

#endif
