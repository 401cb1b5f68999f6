#ifndef WORKER_KAFKA_HANDLE_CONFIG_H
#define WORKER_KAFKA_HANDLE_CONFIG_H

#include <librdkafka/rdkafka.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/settings/settings.h"

/*
 * Private to this folder: the configuration of a handle of librdkafka, from its
 * role, KAFKA_CONFIG_FILE and our own settings.
 *
 * Defaults of ours come first, the file may choose otherwise, and what the guarantees
 * need is set last (properties.h refuses a file that contradicts it).
 */
enum handle_role {
    HANDLE_MEMBER,   /* of the consumer group */
    HANDLE_READER,   /* reads whole topics; knows no group, so that it needs no right to one */
    HANDLE_LOOKUP,   /* reads single records: fetches little ahead; never joins */
    HANDLE_OBSERVER, /* asks for the group's offsets and rights, never joins */
    HANDLE_WRITER,
};

DEFINE_HANDLE(conf, rd_kafka_conf_t, rd_kafka_conf_destroy)

/* The caller's, conf_freep(), until a handle has it. NULL, ERROR_FATAL: what is wrong, and where.
 */
rd_kafka_conf_t *handle_config_new(const struct settings *settings, enum handle_role role,
                                   struct error *err) MUST_USE;

#endif
