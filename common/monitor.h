#ifndef COMMON_MONITOR_H
#define COMMON_MONITOR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A monitor: a lock, and the news that something under it has changed. A waiter looks
 * again after each wait, in a loop: it may be woken by a change that it does not wait for, and
 * by none. Waiting does not depend on the time of day, which may be set.
 */
struct monitor {
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

#define MONITOR_INIT                                         \
    {                                                        \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, \
    }

/* MONITOR_INIT does the same. release: nobody is in it. */
void monitor_init(struct monitor *monitor);
void monitor_release(struct monitor *monitor);

/* One thread at a time is within. */
void monitor_enter(struct monitor *monitor);
void monitor_leave(struct monitor *monitor);

/* These are called within. */
void monitor_notify(struct monitor *monitor); /* all who wait */
void monitor_wait(struct monitor *monitor);

/* False: it is until_ms by clock_ms(), and it did not wait. */
bool monitor_wait_until(struct monitor *monitor, int64_t until_ms);

#endif
