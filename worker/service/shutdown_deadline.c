#include "worker/service/shutdown_deadline.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/store/waiting.h"

enum { CHECK_MS = 50, LOG_MS = 200 };

static struct {
    pthread_t thread;
    bool armed;
    atomic_bool disarmed;
    atomic_llong deadline_ms;
    atomic_llong end_waiting_ms; /* 0: not yet */
    const char *_Atomic phase;
} guard;

/* Nothing here may wait for a lock that another thread holds, nor for a reader of the log. */
static void *watch(void *unused)
{
    const struct timespec pause = { .tv_nsec = CHECK_MS * 1000000L };

    (void)unused;
    while (!guard.disarmed) {
        if (guard.end_waiting_ms > 0 && clock_ms() >= guard.end_waiting_ms)
            waiting_end();
        if (clock_ms() >= guard.deadline_ms) {
            const char *phase = guard.phase;
            log_error("shutdown_deadline_passed", LOG_STR("waiting_for", phase));
            log_stop_writer(LOG_MS);
            _exit(EXIT_FAILURE);
        }
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

void shutdown_deadline_arm(int64_t deadline_ms)
{
    guard.deadline_ms = deadline_ms;
    if (guard.armed)
        return;
    guard.disarmed = false;
    guard.armed = pthread_create(&guard.thread, NULL, watch, NULL) == 0;
    if (!guard.armed)
        log_warn("shutdown_without_deadline");
}

void shutdown_deadline_note(const char *phase)
{
    guard.phase = phase;
}

void shutdown_deadline_end_waiting(int64_t from_ms)
{
    guard.end_waiting_ms = from_ms;
}

void shutdown_deadline_disarm(void)
{
    if (!guard.armed)
        return;
    guard.disarmed = true;
    (void)pthread_join(guard.thread, NULL);
    guard.armed = false;
}
