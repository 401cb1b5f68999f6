#include "worker/ingest/intake.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/wakeup.h"

SLIST_HEAD(drops, drop);

struct drop {
    SLIST_ENTRY(drop) entry;
    int32_t partition;
};

struct intake {
    struct service_metrics *metrics;
    pthread_t thread;
    int in_fd, out_fd; /* eventfds: something was put in, came out */

    pthread_mutex_t lock; /* of these */
    struct pending_event_list in;
    struct intake_output out;
    struct drops drops;
    size_t unmarked; /* DEAD_LETTERED ones that were submitted and have not come out */
    bool hurry, stop;

    struct intake_work work; /* the thread's own */
};

static size_t count_dead_lettered(const struct pending_event_list *events)
{
    size_t n = 0;

    for (const struct pending_event *event = events->first; event; event = event->next)
        n += event->state == PENDING_EVENT_DEAD_LETTERED;
    return n;
}

void intake_submit(struct intake *intake, struct pending_event_list *events)
{
    if (!events->first)
        return;
    (void)pthread_mutex_lock(&intake->lock);
    intake->unmarked += count_dead_lettered(events);
    pending_event_append(&intake->in, events);
    (void)pthread_mutex_unlock(&intake->lock);
    wakeup_signal(intake->in_fd);
}

void intake_drop(struct intake *intake, int32_t partition)
{
    struct drop *drop = memory_needed(calloc(1, sizeof *drop));

    drop->partition = partition;
    (void)pthread_mutex_lock(&intake->lock);
    pending_event_list_drop(&intake->in, partition, &intake->out.events);
    SLIST_INSERT_HEAD(&intake->drops, drop, entry);
    (void)pthread_mutex_unlock(&intake->lock);
    wakeup_signal(intake->in_fd);
}

void intake_hurry(struct intake *intake)
{
    (void)pthread_mutex_lock(&intake->lock);
    intake->hurry = true;
    (void)pthread_mutex_unlock(&intake->lock);
    wakeup_signal(intake->in_fd);
}

size_t intake_unmarked(struct intake *intake)
{
    (void)pthread_mutex_lock(&intake->lock);
    size_t n = intake->unmarked;
    (void)pthread_mutex_unlock(&intake->lock);
    return n;
}

int intake_fd(const struct intake *intake)
{
    return intake->out_fd;
}

struct intake_output intake_collect(struct intake *intake)
{
    (void)wakeup_clear(intake->out_fd);
    (void)pthread_mutex_lock(&intake->lock);
    struct intake_output out = intake->out;
    intake->out = (struct intake_output){ 0 };
    (void)pthread_mutex_unlock(&intake->lock);
    return out;
}

/* What was put in comes to the thread; drops first, they are older. False: stop. */
static bool take_in(struct intake *intake)
{
    struct pending_event_list events = { 0 };

    (void)wakeup_clear(intake->in_fd);
    (void)pthread_mutex_lock(&intake->lock);
    pending_event_append(&events, &intake->in);
    struct drops drops = intake->drops;
    SLIST_INIT(&intake->drops);
    bool hurry = intake->hurry, stop = intake->stop;
    (void)pthread_mutex_unlock(&intake->lock);

    if (hurry)
        intake_work_hurry(&intake->work);
    while (!SLIST_EMPTY(&drops)) {
        struct drop *drop = SLIST_FIRST(&drops);

        SLIST_REMOVE_HEAD(&drops, entry);
        intake_work_drop(&intake->work, drop->partition);
        free(drop);
    }
    intake_work_add(&intake->work, &events);
    return !stop;
}

static void put_out(struct intake *intake)
{
    struct intake_work *work = &intake->work;

    if (!work->out.first && work->released_events == 0)
        return;
    (void)pthread_mutex_lock(&intake->lock);
    pending_event_append(&intake->out.events, &work->out);
    intake->out.released_events += work->released_events;
    intake->out.released_bytes += work->released_bytes;
    intake->unmarked -= work->marked_events;
    (void)pthread_mutex_unlock(&intake->lock);
    work->released_events = work->released_bytes = work->marked_events = 0;
    wakeup_signal(intake->out_fd);
}

static void wait_for_something(struct intake *intake)
{
    struct pollfd fds[] = {
        { .fd = intake->in_fd, .events = POLLIN },
        { .fd = intake_work_socket(&intake->work), .events = POLLIN },
    };

    (void)poll(fds, 2, intake_work_wait_ms(&intake->work));
    if (fds[1].revents)
        intake_work_notified(&intake->work);
}

static void *run(void *opaque)
{
    struct intake *intake = opaque;

    while (take_in(intake)) {
        intake->metrics->intake_turn_ms = clock_ms();
        intake_work_turn(&intake->work);
        put_out(intake);
        wait_for_something(intake);
    }
    return NULL;
}

static void release(struct intake *intake)
{
    if (intake->in_fd >= 0)
        (void)close(intake->in_fd);
    if (intake->out_fd >= 0)
        (void)close(intake->out_fd);
    (void)pthread_mutex_destroy(&intake->lock);
    free(intake);
}

struct intake *intake_start(const struct intake_ports *ports, struct service_metrics *metrics,
                            struct error *err)
{
    struct intake *intake = calloc(1, sizeof *intake);

    if (!intake) {
        (void)error_no_memory(err);
        return NULL;
    }
    intake->metrics = metrics;
    intake_work_init(&intake->work, ports, metrics);
    (void)pthread_mutex_init(&intake->lock, NULL);
    intake->in_fd = wakeup_open(err);
    intake->out_fd = wakeup_open(err);
    if (intake->in_fd < 0 || intake->out_fd < 0 ||
        pthread_create(&intake->thread, NULL, run, intake) != 0) {
        (void)error_errno(err, ERROR_FATAL, "starting intake");
        release(intake);
        return NULL;
    }
    return intake;
}

void intake_free(struct intake *intake)
{
    if (!intake)
        return;
    (void)pthread_mutex_lock(&intake->lock);
    intake->stop = true;
    (void)pthread_mutex_unlock(&intake->lock);
    wakeup_signal(intake->in_fd);
    (void)pthread_join(intake->thread, NULL);

    pending_event_list_clear(&intake->in);
    pending_event_list_clear(&intake->out.events);
    intake_work_release(&intake->work);
    while (!SLIST_EMPTY(&intake->drops)) {
        struct drop *drop = SLIST_FIRST(&intake->drops);

        SLIST_REMOVE_HEAD(&intake->drops, entry);
        free(drop);
    }
    release(intake);
}
