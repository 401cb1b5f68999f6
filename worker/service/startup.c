#include "worker/service/startup.h"

#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdint.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/retry.h"
#include "common/wakeup.h"
#include "worker/service/service.h"
#include "worker/service/shutdown_deadline.h"
#include "worker/service/systemd.h"

enum {
    TURN_MS = 100,
    WARN_EVERY_MS = 60 * 1000,
    STOP_MS = 3000, /* for an attempt in progress to be interrupted */
};

static const struct retry_policy policy = { .base_ms = 250, .cap_ms = 2000 };

struct startup_state {
    const struct startup_check *check;
    pthread_t thread;
    int stop_fd, done_fd; /* wake-ups */
    int signal_fd, signals;
    bool ok;          /* of the thread until done_fd is readable */
    struct error why; /* the same */
};

/* False: it is to stop. */
static bool pause_before(const struct startup_state *s, unsigned attempt)
{
    struct pollfd fd = { .fd = s->stop_fd, .events = POLLIN };
    int64_t ms = retry_wait_ms(policy, attempt, randombytes_random(), TURN_MS);

    (void)poll(&fd, 1, (int)ms);
    return fd.revents == 0;
}

static void *try_main(void *argument)
{
    struct startup_state *s = argument;
    int64_t warn_ms = 0;

    for (unsigned attempt = 1;; attempt++) {
        s->why = ERROR_INIT;
        s->ok = s->check->check(s->check->opaque, &s->stop_fd, &s->why);
        if (s->ok || s->why.kind != ERROR_RETRY)
            break;
        if (clock_ms() >= warn_ms) {
            warn_ms = clock_ms() + WARN_EVERY_MS;
            log_warn("database_unavailable", LOG_STR("who", "start"), LOG_ERROR_OF(&s->why));
        }
        if (!pause_before(s, attempt))
            break;
    }
    wakeup_signal(s->done_fd);
    return NULL;
}

/* True: the attempts are over, *stopped: by a signal. */
static bool turn(struct startup_state *s, struct systemd_notify *notify,
                 struct service_metrics *metrics, bool *stopped)
{
    struct pollfd fds[] = { { .fd = s->done_fd, .events = POLLIN },
                            { .fd = s->signal_fd, .events = POLLIN } };

    (void)poll(fds, 2, TURN_MS);
    metrics->loop_ticks++;
    metrics->loop_last_tick_ms = clock_ms();
    systemd_notify_alive(notify, metrics->loop_last_tick_ms);
    systemd_notify_starting(notify, metrics->loop_last_tick_ms);
    if (fds[1].revents)
        service_read_signals(s->signal_fd, &s->signals);
    *stopped = s->signals > 0;
    return fds[0].revents || *stopped;
}

static void stop_trying(const struct startup_state *s)
{
    shutdown_deadline_note("connecting to the database");
    shutdown_deadline_arm(clock_ms() + STOP_MS);
    shutdown_deadline_end_waiting(clock_ms()); /* nothing was begun that could be lost */
    wakeup_signal(s->stop_fd);
}

static enum startup try(struct startup_state *s, struct service_metrics *metrics, struct error *err)
{
    struct systemd_notify notify = systemd_notify_init();
    bool stopped = false;

    if (pthread_create(&s->thread, NULL, try_main, s) != 0) {
        (void)error_set(err, ERROR_FATAL, "no thread for the start of the service");
        return STARTUP_FAILED;
    }
    while (!turn(s, &notify, metrics, &stopped))
        /* cppcheck-suppress redundantContinue ; a semicolon alone is overlooked */
        continue;
    if (stopped)
        stop_trying(s);
    (void)pthread_join(s->thread, NULL);
    if (stopped)
        return STARTUP_STOPPED;
    if (s->ok)
        return STARTUP_DONE;
    *err = s->why;
    return STARTUP_FAILED;
}

static void close_all(const struct startup_state *s)
{
    const int fds[] = { s->stop_fd, s->done_fd, s->signal_fd };

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
}

enum startup startup_wait(const struct startup_check *check, struct service_metrics *metrics,
                          struct error *err)
{
    struct startup_state s = { .check = check,
                               .stop_fd = wakeup_open(err),
                               .done_fd = wakeup_open(err),
                               .signal_fd = service_open_signals(),
                               .why = ERROR_INIT };
    enum startup outcome = STARTUP_FAILED;

    if (s.signal_fd < 0)
        (void)error_errno(err, ERROR_FATAL, "reading signals");
    if (s.stop_fd >= 0 && s.done_fd >= 0 && s.signal_fd >= 0)
        outcome = try(&s, metrics, err);
    close_all(&s);
    return outcome;
}
