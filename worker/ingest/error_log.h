#ifndef WORKER_INGEST_ERROR_LOG_H
#define WORKER_INGEST_ERROR_LOG_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Which of Kafka's errors are worth a line of the log (pure): librdkafka tells the same one
 * again with every attempt. Each is logged once a minute, of the eight that came last.
 */
enum { ERRORS_REMEMBERED = 8 };

struct seen_error {
    const char *code; /* NULL: none */
    int64_t ms;
};

/* Zeroed: nothing was seen. */
struct error_log {
    struct seen_error seen[ERRORS_REMEMBERED];
};

/* True unless this error was news within the last minute. code: lives for ever. */
bool error_log_is_news(struct error_log *log, const char *code, int64_t now_ms);

#endif
