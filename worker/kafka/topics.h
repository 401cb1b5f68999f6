#ifndef WORKER_KAFKA_TOPICS_H
#define WORKER_KAFKA_TOPICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/settings/settings.h"

/*
 * What `check` reads from the cluster. Never creates a topic.
 */
enum topic_state {
    TOPIC_PRESENT,
    TOPIC_MISSING,
    TOPIC_REFUSED,     /* it may be there, but this user may not see it */
    TOPIC_UNREADABLE,  /* it is there, but this user may not read it (topics_access()) */
    TOPIC_UNREACHABLE, /* a broker that leads a partition does not answer */
    TOPIC_LEADERLESS,  /* a partition has no leader */
};

struct topic_status {
    const char *name; /* in */
    enum topic_state state;
    int partitions;
    /* Of one that is unreachable or without a leader: */
    int partition;    /* the first such one */
    char broker[280]; /* host:port as the broker advertises itself */
    char why[128];
    bool passes; /* it may recover: not a matter of names */
};

/*
 * Fills topics[0..n). Each broker that leads a partition is contacted, as the
 * name that it advertises may lead nowhere. ERROR_RETRY: no broker answered within
 * timeout_ms.
 */
bool topics_look(const struct settings *settings, struct topic_status *topics, size_t n,
                 int timeout_ms, struct error *err) MUST_USE;

/*
 * What the group has committed for a partition of KAFKA_TOPIC, and the
 * partition's first and next offset: what tests see of offsets without a worker.
 */
struct topic_progress {
    int64_t committed; /* -1: nothing yet */
    int64_t begin, end;
};

/*
 * For tests. Waits timeout_ms at most. ERROR_RETRY: no answer by then; ERROR_INPUT: this
 * user may not read it. *progress is written on success only.
 */
bool topics_progress(const struct settings *settings, int32_t partition,
                     struct topic_progress *progress, int timeout_ms, struct error *err) MUST_USE;

/*
 * May this user be a member of KAFKA_GROUP_ID, and read KAFKA_TOPIC? Both are asked
 * by a commit for a partition that does not exist: a broker refuses it either way,
 * and says why; it changes nothing, also while the group is at work.
 */
enum topics_access {
    TOPICS_READABLE,
    TOPICS_GROUP_REFUSED,
    TOPICS_TOPIC_REFUSED,
};

/* Waits timeout_ms at most. *access is written on success only; ERROR_RETRY: no answer by then. */
bool topics_access(const struct settings *settings, enum topics_access *access, int timeout_ms,
                   struct error *err) MUST_USE;

#endif
