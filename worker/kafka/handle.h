#ifndef WORKER_KAFKA_HANDLE_H
#define WORKER_KAFKA_HANDLE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/handle_config.h"
#include "worker/settings/settings.h"

/*
 * Private to this folder: a handle of librdkafka, from its making to its end.
 * librdkafka's threads work for it; calls come from the thread of its owner.
 */

/* Callbacks of a handle and what they are handed; NULL where there is none. */
struct kafka_handle_callbacks {
    void *opaque;
    void (*rebalance)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *);
    void (*committed)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *);
    void (*error)(rd_kafka_t *, int code, const char *reason, void *);
    /* Instead of client_log_write(), which it calls; on threads of librdkafka's own. */
    void (*log)(const rd_kafka_t *, int level, const char *facility, const char *text);
    int (*statistics)(rd_kafka_t *, char *json, size_t n, void *);
    void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *, void *);
};

/* The caller's, kafka_handle_free(). NULL, ERROR_FATAL: the configuration is wrong. */
rd_kafka_t *kafka_handle_new(const struct settings *settings, enum handle_role role,
                             const struct kafka_handle_callbacks *callbacks, struct error *err)
    MUST_USE;

/* Gives up the handle; false, and logged, when it was left behind: not at its end after 2 s. */
bool kafka_handle_free(rd_kafka_t *handle);

/* The same on a thread of its own: the caller does not wait. */
void kafka_handle_retire(rd_kafka_t *handle);

/* A handle stays to the end of the process, with its threads. */
void kafka_handle_leave_behind(void);
bool kafka_handle_is_left_behind(void);

/* librdkafka signals fd (common/wakeup.h) when the queue gets its first element. */
void kafka_handle_watch(rd_kafka_queue_t *queue, int fd);

DEFINE_HANDLE(partitions, rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy)

#endif
