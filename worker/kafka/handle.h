#ifndef WORKER_KAFKA_HANDLE_H
#define WORKER_KAFKA_HANDLE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/record.h"
#include "worker/settings/settings.h"

/*
 * Private to this folder: how a handle of librdkafka is made, and what all
 * handles have in common.
 */
enum kafka_handle_role {
    HANDLE_MEMBER,   /* of the consumer group */
    HANDLE_READER,   /* reads whole topics; knows no group, so that it needs no right to one */
    HANDLE_LOOKUP,   /* reads single records: fetches little ahead; never joins */
    HANDLE_OBSERVER, /* asks for the group's offsets and rights, never joins */
    HANDLE_WRITER,
};

/* Callbacks of a handle and what they are handed; NULL where there is none. */
struct kafka_handle_callbacks {
    void *opaque;
    void (*rebalance)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *);
    void (*committed)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *);
    void (*error)(rd_kafka_t *, int code, const char *reason, void *);
    /* Instead of kafka_handle_log(), which it calls; on threads of librdkafka's own. */
    void (*log)(const rd_kafka_t *, int level, const char *facility, const char *text);
    int (*statistics)(rd_kafka_t *, char *json, size_t n, void *);
    void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *, void *);
};

/* KAFKA_CONFIG_FILE and our own settings become a handle. ERROR_FATAL. */
rd_kafka_t *kafka_handle_new(const struct settings *settings, enum kafka_handle_role role,
                             const struct kafka_handle_callbacks *callbacks, struct error *err)
    MUST_USE;

/* One line of librdkafka's in our log. */
void kafka_handle_log(const rd_kafka_t *handle, int level, const char *facility, const char *text);

/* Gives up the handle; false, and logged, when it was left behind: not at its end after 2 s. */
bool kafka_handle_free(rd_kafka_t *handle);

/* The same beside the caller, who does not wait. */
void kafka_handle_retire(rd_kafka_t *handle);

/* A handle stays to the end of the process, with its threads. */
void kafka_handle_leave_behind(void);
bool kafka_handle_is_left_behind(void);

/*
 * The record that a message holds; it lends from the message. *headers is an
 * array that is made larger as needed; the caller frees it at the end.
 */
struct kafka_handle_headers {
    struct record_header *items;
    size_t cap;
};

/* False: out of memory; *record is unchanged. */
bool kafka_handle_read_message(const rd_kafka_message_t *message,
                               struct kafka_handle_headers *headers, struct record *record)
    MUST_USE;

/* librdkafka signals fd (common/wakeup.h) when the queue gets its first element. */
void kafka_handle_watch(rd_kafka_queue_t *queue, int fd);

DEFINE_HANDLE(partitions, rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy)

#endif
