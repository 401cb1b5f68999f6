#ifndef WORKER_KAFKA_TOPIC_MAKER_H
#define WORKER_KAFKA_TOPIC_MAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/settings/settings.h"

/*
 * Makes topics by the client library's admin calls. Belongs to one thread, waits.
 *
 * Production wants each record on three brokers, two of which acknowledge it: one
 * may be restarted without a stop (Kafka's own defaults, 1 and 1, lose records with a
 * disk). Where the cluster has fewer brokers there are as many
 * replicas as brokers.
 */
struct topic_maker;

struct topic_wish {
    const char *name;
    int partitions;
    int replicas; /* 0: topic_maker_replicas() of the cluster's brokers */
    int64_t retention_ms;
};

/* The topic as it is now. */
struct topic_stand {
    bool created;             /* else it was there before */
    int partitions, replicas; /* 0: not known, Describe on the topic is missing */
};

/* ERROR_RETRY: no broker answered within timeout_ms, which also bounds each call below. */
struct topic_maker *topic_maker_new(const struct settings *settings, int timeout_ms,
                                    struct error *err) MUST_USE;
void topic_maker_free(struct topic_maker *maker);

/* How many the cluster has at the moment. */
int topic_maker_brokers(const struct topic_maker *maker);

/* A topic that exists is left as it is. ERROR_INPUT: no right to make it, or the cluster refuses.
 */
bool topic_maker_make(struct topic_maker *maker, const struct topic_wish *wish,
                      struct topic_stand *stand, struct error *err) MUST_USE;

/* Three, or as many as there are brokers; and how many of them must have a record. */
int topic_maker_replicas(int brokers);
int topic_maker_min_insync(int replicas);

DEFINE_OWNER(topic_maker)

#endif
