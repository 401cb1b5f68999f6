#ifndef WORKER_KAFKA_RECORD_H
#define WORKER_KAFKA_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * A record of a Kafka topic, as read or to be written. Plain data: keys, values
 * and header values are bytes with a length, and NULL where Kafka has null,
 * which is not the same as empty.
 */
struct record_header {
    const char *name; /* NUL-terminated */
    const void *value;
    size_t value_bytes;
};

struct record {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* since 1970-01-01 UTC; -1: none */
    const void *key;
    size_t key_bytes;
    const void *value;
    size_t value_bytes;
    const struct record_header *headers;
    size_t headers_n;
};

/* The last header of that name, as Kafka's own clients choose; NULL if there is none. */
const struct record_header *record_header_find(const struct record *record, const char *name);

/* Case of ASCII letters does not count in name. */
const struct record_header *record_header_find_any_case(const struct record *record,
                                                        const char *name);

/*
 * A copy that owns all it points to, in one piece of memory. NULL when out of
 * memory. Free with record_free().
 */
struct record *record_copy(const struct record *record) MUST_USE;
void record_free(struct record *record);

/* How much memory a copy takes. */
size_t record_bytes(const struct record *record);

DEFINE_OWNER(record)

#endif
