#include "tests/simulate/threads.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "common/wakeup.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/process.h"

enum { FIRST = 1000 * 1000, DESCRIPTORS_MAX = 4096 };

/* 2026-11-24T08:00:47Z */
static const int64_t UTC_START_MS = INT64_C(1795507247000);

static bool readable[DESCRIPTORS_MAX];
static int n_descriptors;
static int64_t utc_back_ms;

/* ---- descriptors ---- */

void descriptors_begin(void)
{
    n_descriptors = 0;
    utc_back_ms = 0;
}

int descriptor_new(void)
{
    assert(n_descriptors < DESCRIPTORS_MAX);
    readable[n_descriptors] = false;
    return FIRST + n_descriptors++;
}

void descriptor_raise(int fd)
{
    readable[fd - FIRST] = true;
    fiber_wake(&readable[fd - FIRST]);
}

bool descriptor_lower(int fd)
{
    bool was = readable[fd - FIRST];

    readable[fd - FIRST] = false;
    return was;
}

bool descriptor_is_raised(int fd)
{
    return readable[fd - FIRST];
}

const void *descriptor_key(int fd)
{
    return &readable[fd - FIRST];
}

int wakeup_open(struct error *err UNUSED)
{
    return descriptor_new();
}

void wakeup_signal(int fd)
{
    descriptor_raise(fd);
}

bool wakeup_clear(int fd)
{
    return descriptor_lower(fd);
}

#define WRAP(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters
#define REAL(type, name, parameters) type __real_##name parameters

REAL(int, close, (int fd));

WRAP(int, close, (int fd))
{
    return fd >= FIRST ? 0 : __real_close(fd);
}

static int look(struct pollfd *fds, nfds_t n, const void **keys, size_t *n_keys)
{
    int ready = 0;

    *n_keys = 0;
    for (nfds_t i = 0; i < n; i++) {
        fds[i].revents = 0;
        if (fds[i].fd < FIRST)
            continue;
        keys[(*n_keys)++] = &readable[fds[i].fd - FIRST];
        if (!readable[fds[i].fd - FIRST])
            continue;
        fds[i].revents = POLLIN;
        ready++;
    }
    return ready;
}

WRAP(int, poll, (struct pollfd * fds, nfds_t n, int timeout))
{
    int64_t until_ms = timeout < 0 ? FIBER_NEVER : fiber_now_ms() + timeout;
    const void *keys[FIBER_KEYS_MAX];
    size_t n_keys;
    int ready = look(fds, n, keys, &n_keys);

    if (ready > 0 || timeout == 0)
        return ready;
    fiber_wait(keys, n_keys, until_ms);
    return look(fds, n, keys, &n_keys);
}

/* As optimised builds call it. */
WRAP(int, __poll_chk, (struct pollfd * fds, nfds_t n, int timeout, size_t bytes UNUSED))
{
    return __wrap_poll(fds, n, timeout);
}

/* ---- clocks ---- */

static int64_t utc_us(void)
{
    return (UTC_START_MS - utc_back_ms + fiber_now_ms()) * 1000;
}

void utc_set_back(long long ms)
{
    utc_back_ms += ms;
}

WRAP(int64_t, clock_ms, (void))
{
    return fiber_now_ms();
}

WRAP(int64_t, clock_utc_us, (void))
{
    return utc_us();
}

WRAP(int, clock_gettime, (clockid_t id, struct timespec *out))
{
    int64_t us = id == CLOCK_REALTIME ? utc_us() : fiber_now_ms() * 1000;

    *out = (struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
    return 0;
}

/* ---- threads ---- */

WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *how UNUSED, void *(*run)(void *), void *argument))
{
    *thread = fiber_start(fiber_process(), run, argument);
    return 0;
}

WRAP(int, pthread_join, (pthread_t thread, void **result UNUSED))
{
    fiber_join(thread);
    return 0;
}

static void wait_for(const void *condition, pthread_mutex_t *mutex, int64_t until_ms)
{
    (void)pthread_mutex_unlock(mutex);
    fiber_wait(&condition, 1, until_ms);
    (void)pthread_mutex_lock(mutex);
}

WRAP(int, pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t *mutex))
{
    wait_for(condition, mutex, FIBER_NEVER);
    return 0;
}

WRAP(int, pthread_cond_clockwait,
     (pthread_cond_t * condition, pthread_mutex_t *mutex, clockid_t clock UNUSED,
      const struct timespec *until))
{
    wait_for(condition, mutex, (int64_t)until->tv_sec * 1000 + until->tv_nsec / 1000000);
    return 0;
}

WRAP(int, pthread_cond_broadcast, (pthread_cond_t * condition))
{
    fiber_wake(condition);
    return 0;
}

/* The one lock that is held while others run: of the plans of a process, each has its own. */
static pthread_mutex_t *gate;

REAL(int, pthread_mutex_unlock, (pthread_mutex_t * mutex));

WRAP(int, pthread_mutex_trylock, (pthread_mutex_t * mutex))
{
    struct process *process = fiber_process();

    gate = mutex;
    if (process->gate_is_held)
        return EBUSY;
    process->gate_is_held = true;
    return 0;
}

WRAP(int, pthread_mutex_unlock, (pthread_mutex_t * mutex))
{
    if (mutex != gate)
        return __real_pthread_mutex_unlock(mutex);
    fiber_process()->gate_is_held = false;
    return 0;
}
