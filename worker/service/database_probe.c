#include "worker/service/database_probe.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"

enum {
    EVERY_SECONDS = 20,      /* three chances in the minute that a success counts */
    AGAIN_AFTER_SECONDS = 5, /* a failure */
};

struct database_probe {
    struct database_probe_ports ports;
    struct service_metrics *metrics;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop;
    bool failing; /* the thread's own: has been logged */
};

/* False: stop. */
static bool rest(struct database_probe *probe, int seconds)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    (void)pthread_mutex_lock(&probe->lock);
    while (!probe->stop && pthread_cond_timedwait(&probe->changed, &probe->lock, &until) == 0)
        ;
    bool go_on = !probe->stop;
    (void)pthread_mutex_unlock(&probe->lock);
    return go_on;
}

static bool try_once(struct database_probe *probe)
{
    struct error err = ERROR_INIT;
    bool ok = probe->ports.connect(probe->ports.opaque, &err);

    if (ok)
        probe->metrics->database_connected_ms = clock_ms();
    else if (!probe->failing)
        log_warn("database_unavailable", LOG_STR("who", "probe"), LOG_ERROR_OF(&err));
    probe->failing = !ok;
    return ok;
}

static void *run(void *opaque)
{
    struct database_probe *probe = opaque;
    bool ok;

    do
        ok = try_once(probe);
    while (rest(probe, ok ? EVERY_SECONDS : AGAIN_AFTER_SECONDS));
    return NULL;
}

static void release(struct database_probe *probe)
{
    (void)pthread_cond_destroy(&probe->changed);
    (void)pthread_mutex_destroy(&probe->lock);
    free(probe);
}

struct database_probe *database_probe_start(const struct database_probe_ports *ports,
                                            struct service_metrics *metrics, struct error *err)
{
    struct database_probe *probe = calloc(1, sizeof *probe);
    pthread_condattr_t monotonic;

    if (!probe) {
        (void)error_no_memory(err);
        return NULL;
    }
    probe->ports = *ports;
    probe->metrics = metrics;
    (void)pthread_mutex_init(&probe->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&probe->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&probe->thread, NULL, run, probe);
    if (!failed)
        return probe;
    release(probe);
    (void)error_set(err, ERROR_FATAL, "no thread for the database probe (error %d)", failed);
    return NULL;
}

void database_probe_free(struct database_probe *probe)
{
    if (!probe)
        return;
    (void)pthread_mutex_lock(&probe->lock);
    probe->stop = true;
    (void)pthread_cond_signal(&probe->changed);
    (void)pthread_mutex_unlock(&probe->lock);
    (void)pthread_join(probe->thread, NULL);
    release(probe);
}
