#ifndef WORKER_ADMIN_MIGRATE_TOPICS_H
#define WORKER_ADMIN_MIGRATE_TOPICS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/cli/arguments.h"
#include "worker/cli/command.h"

/* `migrate --topics`: the topics of the settings, as far as they are missing. */
struct migrate_topics {
    bool wanted;
    int64_t partitions; /* of the topics of events and of outcomes */
    int64_t replicas;   /* 0: three, or as many as there are brokers */
};

/* Reads the options; false, wrong usage, where one has no meaning. */
bool migrate_topics_read(struct context *context, struct migrate_topics *topics, struct error *err)
    MUST_USE;

/* Makes them, and says what it made and what was there before. */
bool migrate_topics_make(const struct settings *settings, const struct migrate_topics *topics,
                         struct error *err) MUST_USE;

#endif
