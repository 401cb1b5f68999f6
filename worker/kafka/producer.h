#ifndef WORKER_KAFKA_PRODUCER_H
#define WORKER_KAFKA_PRODUCER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/record.h"
#include "worker/settings/settings.h"

/*
 * Writes records, idempotently: a retry inside librdkafka never doubles one.
 * Keys go to the partitions where Java's clients put them.
 *
 * Two ways: producer_produce() and, later, one report with its tag; or
 * producer_send(), which waits. It belongs to one thread.
 */
struct producer;

enum producer_outcome {
    PRODUCER_DELIVERED, /* acknowledged by all in-sync replicas */
    PRODUCER_TOO_LARGE, /* the broker does not take a record of this size */
    PRODUCER_FAILED,    /* not written, or not known to be */
};

struct producer_report {
    void *tag;
    enum producer_outcome outcome;
    int32_t partition; /* of DELIVERED: where it is; -1 where the broker did not say */
    int64_t offset;
    bool passes;    /* of FAILED: the same may succeed later, with nobody doing anything */
    char text[256]; /* of FAILED: why, and what to do */
};

/* An unreachable broker is no error here. */
struct producer *producer_new(const struct settings *settings, struct error *err) MUST_USE;
void producer_free(struct producer *producer); /* what is not delivered yet is dropped */

/*
 * The settings have changed: with the next record a new client is made. What the old one
 * still holds is reported at once (producer_fd() is readable) as not written, though a
 * broker may have it.
 */
void producer_renew(struct producer *producer);

/* Readable once reports are there. Read producer_next() until false before waiting again. */
int producer_fd(const struct producer *producer);

/*
 * Hands over a copy of the record; its topic, partition, offset are not looked
 * at: it goes to topic, where its key sends it. True: exactly one report will come.
 */
bool producer_produce(struct producer *producer, const char *topic, const struct record *record,
                      void *tag, struct error *err) MUST_USE;

/* Does not wait, but 0.5 s for a client that is given up. False: no report now. */
bool producer_next(struct producer *producer, struct producer_report *report) MUST_USE;

/*
 * Returns when the record is acknowledged, or with the reason why not: after timeout_ms where
 * that may pass, ERROR_INPUT where it does not (a right is missing, there is no such topic).
 */
bool producer_send(struct producer *producer, const char *topic, const struct record *record,
                   int64_t timeout_ms, struct error *err) MUST_USE;

DEFINE_OWNER(producer)

#endif
