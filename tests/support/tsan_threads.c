/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): glibc's are reserved names */

/*
 * Only in builds with ThreadSanitizer: C11's threads by means of POSIX threads.
 *
 * librdkafka uses C11's, whose calls the sanitizer does not see: a thread made
 * by them crashes in it, and what they synchronise looks like a race. glibc's
 * types are the POSIX ones under other names, so these stand in for its own.
 *
 * Its reference counts stay invisible (it is built without the sanitizer), so
 * reports that have a frame of librdkafka in them say nothing and are left out.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "a mutex is a mutex");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "a condition is a condition");

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:librdkafka\nmutex:librdkafka\n";
}

static int result(int code)
{
    if (code == ETIMEDOUT)
        return thrd_timedout;
    if (code == EBUSY)
        return thrd_busy;
    return code ? thrd_error : thrd_success;
}

struct start {
    thrd_start_t function;
    void *argument;
};

static void *run(void *opaque)
{
    struct start start = *(struct start *)opaque;

    free(opaque);
    return (void *)(intptr_t)start.function(start.argument); /* NOLINT: C11 hands back an int */
}

int thrd_create(thrd_t *thread, thrd_start_t function, void *argument)
{
    struct start *start = malloc(sizeof *start);

    if (!start)
        return thrd_nomem;
    *start = (struct start){ function, argument };
    return result(pthread_create(thread, NULL, run, start));
}

int thrd_join(thrd_t thread, int *code)
{
    void *returned = NULL;
    int joined = pthread_join(thread, &returned);

    if (code)
        *code = (int)(intptr_t)returned;
    return result(joined);
}

int thrd_detach(thrd_t thread)
{
    return result(pthread_detach(thread));
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attributes;

    (void)pthread_mutexattr_init(&attributes);
    if (type & mtx_recursive)
        (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    return result(pthread_mutex_init((pthread_mutex_t *)mutex, &attributes));
}

int mtx_lock(mtx_t *mutex)
{
    return result(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_trylock(mtx_t *mutex)
{
    return result(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex)
{
    return result(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

void mtx_destroy(mtx_t *mutex)
{
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int cnd_init(cnd_t *condition)
{
    return result(pthread_cond_init((pthread_cond_t *)condition, NULL));
}

int cnd_signal(cnd_t *condition)
{
    return result(pthread_cond_signal((pthread_cond_t *)condition));
}

int cnd_broadcast(cnd_t *condition)
{
    return result(pthread_cond_broadcast((pthread_cond_t *)condition));
}

int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return result(pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    return result(
        pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until));
}

void cnd_destroy(cnd_t *condition)
{
    (void)pthread_cond_destroy((pthread_cond_t *)condition);
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
