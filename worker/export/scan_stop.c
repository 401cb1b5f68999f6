#include "worker/export/scan_stop.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/wakeup.h"

enum { CONNECTIONS = 2, STOP_AGAIN_MS = 100 };

struct scan_stop {
    pthread_t thread;
    bool started;
    int stop_fd;
    int over_fd; /* the scan's end */
    struct db_canceller *cancellers[CONNECTIONS];
};

static void wait_for_either(struct pollfd fds[2])
{
    while (poll(fds, 2, -1) < 0)
        ; /* a signal */
}

static void *stop_main(void *argument)
{
    struct scan_stop *stop = argument;
    struct pollfd fds[] = { { .fd = stop->over_fd, .events = POLLIN },
                            { .fd = stop->stop_fd, .events = POLLIN } };

    wait_for_either(fds);
    while (fds[0].revents == 0) {
        for (size_t i = 0; i < CONNECTIONS; i++)
            db_canceller_fire(stop->cancellers[i]);
        (void)poll(fds, 1, STOP_AGAIN_MS);
    }
    return NULL;
}

static bool make_cancellers(struct scan_stop *stop, const struct member_scan *scan,
                            struct error *err)
{
    stop->cancellers[0] = db_canceller_new(scan->members_db);
    stop->cancellers[1] = db_canceller_new(scan->ledger_db);
    return (stop->cancellers[0] && stop->cancellers[1]) || error_no_memory(err);
}

static bool start(struct scan_stop *stop, const struct member_scan *scan, struct error *err)
{
    if (!make_cancellers(stop, scan, err))
        return false;
    stop->over_fd = wakeup_open(err);
    if (stop->over_fd < 0)
        return false;
    stop->started = pthread_create(&stop->thread, NULL, stop_main, stop) == 0;
    return stop->started || error_set(err, ERROR_RETRY, "no thread that a stop is heard by");
}

static const int *stop_fd_of(const struct scan_observer *observer)
{
    return observer ? observer->stop_fd : NULL;
}

static bool watch(struct scan_stop **out, const struct member_scan *scan, struct error *err)
{
    const int *stop_fd = stop_fd_of(scan->observer);

    if (!stop_fd)
        return true;
    CLEANUP(scan_stop_freep) struct scan_stop *stop = calloc(1, sizeof *stop);
    if (!stop)
        return error_no_memory(err);
    stop->stop_fd = *stop_fd;
    stop->over_fd = -1;
    if (!start(stop, scan, err))
        return false;
    *out = scan_stop_take(&stop);
    return true;
}

static bool share_snapshot(const struct member_scan *scan, struct error *err)
{
    char snapshot[SNAPSHOT_BYTES];

    return db_begin_snapshot(scan->members_db, err) &&
           db_export_snapshot(scan->members_db, snapshot, err) &&
           db_join_snapshot(scan->ledger_db, snapshot, err);
}

bool scan_stop_open(struct scan_stop **out, struct member_scan *scan,
                    const struct secret_source *url, const char *name, struct error *err)
{
    const struct db_options how = { .url = *url,
                                    .name = name,
                                    .stop_fd = stop_fd_of(scan->observer) };
    struct db **const both[CONNECTIONS] = { &scan->members_db, &scan->ledger_db };

    *out = NULL;
    return db_open_together(both, CONNECTIONS, &how, err) && watch(out, scan, err) &&
           share_snapshot(scan, err);
}

void scan_stop_free(struct scan_stop *stop)
{
    if (!stop)
        return;
    if (stop->started) {
        wakeup_signal(stop->over_fd);
        (void)pthread_join(stop->thread, NULL);
    }
    if (stop->over_fd >= 0)
        (void)close(stop->over_fd);
    for (size_t i = 0; i < CONNECTIONS; i++)
        db_canceller_free(stop->cancellers[i]);
    free(stop);
}

bool scan_stop_failure(const struct scan_observer *observer, struct error *err)
{
    const int *stop_fd = stop_fd_of(observer);
    struct pollfd fd = { .fd = stop_fd ? *stop_fd : -1, .events = POLLIN };

    if (poll(&fd, 1, 0) > 0)
        (void)error_set(err, ERROR_LOST, "reading the members was stopped");
    return false;
}
