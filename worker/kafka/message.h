#ifndef WORKER_KAFKA_MESSAGE_H
#define WORKER_KAFKA_MESSAGE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "worker/kafka/record.h"

/*
 * Private to this folder: a message of librdkafka as a record.
 *
 * The headers are an array that is made larger as needed; one for each owner of
 * a handle, used by one message after the other. The owner frees items at the
 * end.
 */
struct message_headers {
    struct record_header *items;
    size_t cap;
};

/*
 * *record lends from the message and from headers, until either is used again.
 * False: out of memory; *record is unchanged.
 */
bool message_read(const rd_kafka_message_t *message, struct message_headers *headers,
                  struct record *record) MUST_USE;

#endif
