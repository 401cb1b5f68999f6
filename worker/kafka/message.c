#include "worker/kafka/message.h"

#include <stdlib.h>

static bool make_room(struct message_headers *headers, size_t n)
{
    if (n <= headers->cap)
        return true;
    struct record_header *larger = reallocarray(headers->items, n, sizeof *larger);
    if (!larger)
        return false;
    headers->items = larger;
    headers->cap = n;
    return true;
}

static bool read_headers(const rd_kafka_message_t *message, struct message_headers *headers,
                         struct record *record)
{
    rd_kafka_headers_t *from;

    if (rd_kafka_message_headers(message, &from) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return true; /* it has none */
    size_t n = rd_kafka_header_cnt(from);
    if (!make_room(headers, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        struct record_header *to = &headers->items[i];
        if (rd_kafka_header_get_all(from, i, &to->name, &to->value, &to->value_bytes))
            break;
        record->headers_n = i + 1;
    }
    record->headers = headers->items;
    return true;
}

bool message_read(const rd_kafka_message_t *message, struct message_headers *headers,
                  struct record *record)
{
    rd_kafka_timestamp_type_t type;
    struct record read = {
        .topic = rd_kafka_topic_name(message->rkt),
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, &type),
        .key = message->key,
        .key_bytes = message->key_len,
        .value = message->payload,
        .value_bytes = message->len,
    };

    if (!read_headers(message, headers, &read))
        return false;
    *record = read;
    return true;
}
