#ifndef WORKER_SERVICE_SYSTEMD_H
#define WORKER_SERVICE_SYSTEMD_H

#include <stdint.h>

/*
 * The systemd that started this process, where one did: NOTIFY_SOCKET is set by
 * Type=notify, WATCHDOG_USEC by WatchdogSec=. It is notified when the service takes
 * events, when it stops and how long that may take, and, while the control loop
 * turns, that it is alive; systemd ends and restarts a process that falls silent.
 * Without systemd, or in a build with WORKER_SYSTEMD=OFF, nothing is sent.
 *
 * For the control thread. Each notification is one datagram.
 */
struct systemd_notify {
    int64_t every_ms; /* between signs of life: half of what systemd waits for one; 0: unwatched */
    int64_t notified_ms; /* the last sign of life, of clock_ms() */
    int64_t extended_ms; /* when more time for the start was asked for; 0: not yet */
};

/* What systemd asks for in the environment; never fails. */
struct systemd_notify systemd_notify_init(void);

/* The start waits for Kafka, even for hours: asks for more time than TimeoutStartSec=. Every turn.
 */
void systemd_notify_starting(struct systemd_notify *systemd_notify, int64_t now_ms);

/* The consumer group was joined: the service takes events from now on. */
void systemd_notify_ready(void);

/* A sign of life, where one is due. Call it at every turn of the loop. */
void systemd_notify_alive(struct systemd_notify *systemd_notify, int64_t now_ms);

/* It stops, which may take this long, whatever TimeoutStopSec= says. */
void systemd_notify_stopping(int64_t within_ms);

#endif
