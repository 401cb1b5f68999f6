#ifndef WORKER_KAFKA_CLIENT_H
#define WORKER_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/settings.h"
#include "worker/kafka/record.h"

/*
 * Private to this folder: how a handle of librdkafka is made, and what its
 * errors mean. What the handles do not have in common stands with their owners.
 */
enum client_role {
    CLIENT_MEMBER, /* of the consumer group */
    CLIENT_READER, /* reads, is in no group, commits nothing */
    CLIENT_WRITER,
};

/* Callbacks of a handle and what they are handed; NULL where there is none. */
struct client_callbacks {
    void *opaque;
    void (*rebalance)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *);
    void (*committed)(rd_kafka_t *, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t *, void *);
    void (*error)(rd_kafka_t *, int code, const char *reason, void *);
    void (*delivered)(rd_kafka_t *, const rd_kafka_message_t *, void *);
};

/* KAFKA_CONFIG_FILE and our own settings become a handle. ERROR_FATAL. */
rd_kafka_t *client_new(const struct settings *settings, enum client_role role,
                       const struct client_callbacks *callbacks, struct error *err) MUST_USE;

/* Gives up the handle; false when it had not ended after two seconds and was left behind. */
bool client_free(rd_kafka_t *handle);

/* What a person can do about an error; NULL where the code says it all. */
const char *client_hint(const rd_kafka_t *handle, rd_kafka_resp_err_t code);

/* Brokers out of reach, elections, rebalances: librdkafka tries again and nobody need do anything.
 */
bool client_passing(rd_kafka_resp_err_t code);

/* "what: why: hint", of kind RETRY where the error passes and INPUT where it does not. */
bool client_error(struct error *err, const rd_kafka_t *handle, rd_kafka_resp_err_t code,
                  const char *what);

/*
 * The record that a message holds; it lends from the message. *headers is an
 * array that is made larger as needed; the caller frees it at the end.
 */
struct client_headers {
    struct record_header *items;
    size_t cap;
};
bool client_read_message(const rd_kafka_message_t *message, struct client_headers *headers,
                         struct record *record) MUST_USE;

/* An eventfd that librdkafka writes to when the queue gets its first element. */
int client_watch(rd_kafka_queue_t *queue, int fd);
int client_eventfd(struct error *err) MUST_USE; /* -1 with err */
void client_drain_eventfd(int fd);

DEFINE_HANDLE(partitions, rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy)

#endif
