#include "worker/service/database_probe.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/monitor.h"

enum {
    EVERY_SECONDS = 20,      /* three chances in the minute that a success counts */
    AGAIN_AFTER_SECONDS = 5, /* a failure */
};

struct database_probe {
    struct database_probe_ports ports;
    struct service_metrics *metrics;
    pthread_t thread;
    struct monitor monitor;
    bool stop;
    bool failing; /* the thread's own: has been logged */
};

/* False: stop. */
static bool rest(struct database_probe *probe, int seconds)
{
    int64_t until_ms = clock_ms() + (int64_t)seconds * 1000;

    monitor_enter(&probe->monitor);
    while (!probe->stop && monitor_wait_until(&probe->monitor, until_ms))
        ;
    bool go_on = !probe->stop;
    monitor_leave(&probe->monitor);
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
    monitor_release(&probe->monitor);
    free(probe);
}

struct database_probe *database_probe_start(const struct database_probe_ports *ports,
                                            struct service_metrics *metrics, struct error *err)
{
    struct database_probe *probe = calloc(1, sizeof *probe);

    if (!probe) {
        (void)error_no_memory(err);
        return NULL;
    }
    probe->ports = *ports;
    probe->metrics = metrics;
    monitor_init(&probe->monitor);
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
    monitor_enter(&probe->monitor);
    probe->stop = true;
    monitor_notify(&probe->monitor);
    monitor_leave(&probe->monitor);
    (void)pthread_join(probe->thread, NULL);
    release(probe);
}
