#ifndef WORKER_KAFKA_READER_H
#define WORKER_KAFKA_READER_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/record.h"
#include "worker/settings/settings.h"

/*
 * Reads a topic from its beginning to the end it had when the reader was made:
 * all partitions, committing nothing, without a group and so without a right to one.
 */
struct reader;

enum reader_next { READER_RECORD, READER_END, READER_ERROR };

/* ERROR_INPUT: no such topic. ERROR_RETRY: no broker answered within timeout_ms. */
struct reader *reader_new(const struct settings *settings, const char *topic, int timeout_ms,
                          struct error *err) MUST_USE;
void reader_free(struct reader *reader);

/* *record is lent until the next call. ERROR when no record comes for timeout_ms. */
enum reader_next reader_next(struct reader *reader, const struct record **record, struct error *err)
    MUST_USE;

DEFINE_OWNER(reader)

#endif
