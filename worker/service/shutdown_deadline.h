#ifndef WORKER_SERVICE_SHUTDOWN_DEADLINE_H
#define WORKER_SERVICE_SHUTDOWN_DEADLINE_H

#include <stdint.h>

/*
 * The hard end of a shutdown. Once armed, it ends the process with 1 at the
 * deadline, whatever any other thread waits for, and logs what it was about.
 * There is one in a process.
 */
void shutdown_deadline_arm(int64_t deadline_ms); /* of clock_ms() */

/* What the shutdown is about now; a text that lives for ever. */
void shutdown_deadline_note(const char *phase);

/* From that time of clock_ms() on no database is waited for any more: store/waiting.h. */
void shutdown_deadline_end_waiting(int64_t from_ms);

/* The shutdown came to its end; returns when its thread has ended. */
void shutdown_deadline_disarm(void);

#endif
