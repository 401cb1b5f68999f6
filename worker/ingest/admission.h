#ifndef WORKER_INGEST_ADMISSION_H
#define WORKER_INGEST_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>

/*
 * How many records of events may be in memory at once, from their message to the
 * row that replaces them: bounded in number and bytes. Once full it stays full until half
 * are gone, so that partitions are not paused and resumed for each event. Events that wait
 * for their run or dead letter do not count (pending_event.h).
 *
 * 4,000: eight commits of intake, so that it never waits for the control loop
 * (chosen). 8 MiB: a sixteenth of what the container gets (chosen).
 *
 * A full one still takes what librdkafka has handed out already.
 */
enum { ADMISSION_EVENTS = 4000, ADMISSION_BYTES = 8 * 1024 * 1024 };

struct admission {
    size_t events, bytes;
    bool full;
};

/* A record of that many bytes is in memory; then: it is no longer. */
void admission_take(struct admission *admission, size_t bytes);
void admission_give(struct admission *admission, size_t events, size_t bytes);

#endif
