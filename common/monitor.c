#include "common/monitor.h"

#include <time.h>

#include "common/clock.h"

enum { NS_PER_MS = 1000000, NS_PER_SECOND = 1000000000 };

void monitor_init(struct monitor *monitor)
{
    *monitor = (struct monitor)MONITOR_INIT;
}

void monitor_release(struct monitor *monitor)
{
    (void)pthread_cond_destroy(&monitor->changed);
    (void)pthread_mutex_destroy(&monitor->lock);
}

void monitor_enter(struct monitor *monitor)
{
    (void)pthread_mutex_lock(&monitor->lock);
}

void monitor_leave(struct monitor *monitor)
{
    (void)pthread_mutex_unlock(&monitor->lock);
}

void monitor_notify(struct monitor *monitor)
{
    (void)pthread_cond_broadcast(&monitor->changed);
}

void monitor_wait(struct monitor *monitor)
{
    (void)pthread_cond_wait(&monitor->changed, &monitor->lock);
}

static struct timespec monotonic_in(int64_t ms)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * NS_PER_MS;
    if (at.tv_nsec >= NS_PER_SECOND) {
        at.tv_sec++;
        at.tv_nsec -= NS_PER_SECOND;
    }
    return at;
}

bool monitor_wait_until(struct monitor *monitor, int64_t until_ms)
{
    int64_t left_ms = until_ms - clock_ms();

    if (left_ms <= 0)
        return false;
    const struct timespec until = monotonic_in(left_ms);
    (void)pthread_cond_clockwait(&monitor->changed, &monitor->lock, CLOCK_MONOTONIC, &until);
    return true;
}
