#ifndef WORKER_KAFKA_CLIENT_TEXT_H
#define WORKER_KAFKA_CLIENT_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What librdkafka says in texts, and nowhere else (pure). Its words may change with a release:
 * tests/integration/test_ingest.py holds them against the library in use.
 */

/*
 * Statistics: a member of the group with nothing left to negotiate.
 *     "cgrp": { "state": "up", ..., "join_state": "steady", ...
 * They end with the group, so the last occurrence counts.
 */
bool client_text_is_steady(const char *statistics);

struct client_reset {
    int32_t partition;
    int64_t offset; /* which is out of range */
};

/*
 * A line of its log: an offset is out of range, since what stood there was deleted.
 *     TOPIC [3]: offset reset (at offset 17, broker 1) to BEGINNING: ... out of range
 * False: it says something else.
 */
bool client_text_reset(const char *line, struct client_reset *reset);

#endif
