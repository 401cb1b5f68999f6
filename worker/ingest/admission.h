#ifndef WORKER_INGEST_ADMISSION_H
#define WORKER_INGEST_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>

/*
 * How many events may be in hand, from their message to their end: bounded in
 * number and bytes, so that memory is. Full until half has ended, so that
 * partitions are not paused and resumed for each event.
 *
 * A full one still takes what librdkafka has handed out already.
 */
enum { ADMISSION_EVENTS = 4000, ADMISSION_BYTES = 8 * 1024 * 1024 };

struct admission {
    size_t events, bytes;
    bool full;
};

void admission_take(struct admission *admission, size_t bytes);
void admission_give(struct admission *admission, size_t bytes);

#endif
