#include "worker/service/service.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/ingest/ingest.h"
#include "worker/service/shutdown_deadline.h"
#include "worker/service/systemd.h"

enum {
    TURN_MS = 100,            /* the loop turns at least this often */
    CLOSE_MS = 5000,          /* for leaving the group */
    LETTERS_MS = 2000,        /* for dead letters on their way when everything else has ended */
    SETTLE_MS = 500,          /* for ends that were recorded last to come back */
    HARD_DEADLINE_MS = 10000, /* beyond DRAIN_SECONDS */
    LAST_WRITES_MS = 3000,    /* at the end: then no database is waited for any more */
    EXIT_MS = 5000,           /* for the process to be gone after that */
};

enum state { RUNNING, DRAINING, CLOSING, OVER, FAILED };

struct service {
    const struct settings *settings;
    const struct service_ports *ports;
    struct service_metrics *metrics;
    struct error *err; /* why it FAILED */
    struct ingest *ingest;
    struct systemd_notify systemd_notify;
    int signal_fd;
    int signals;         /* how many came */
    bool reported_ready; /* systemd knows that the group was joined */
    bool broken;         /* err is set: the loop cannot continue */
    int64_t drain_until_ms, settle_until_ms, close_until_ms;
};

static const char *const state_names[] = { "running", "draining", "closing", "over", "failed" };

/* ---- signals ---- */

static bool is_ignored(int signal)
{
    struct sigaction now;

    return sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static void our_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGQUIT);
    if (!is_ignored(SIGHUP))
        (void)sigaddset(set, SIGHUP);
}

void service_block_signals(void)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigset_t set;

    our_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL);
}

int service_open_signals(void)
{
    sigset_t set;

    our_signals(&set);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

void service_read_signals(int signal_fd, int *signals)
{
    struct signalfd_siginfo info;

    while (read(signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGHUP || *signals == 0) /* a session's end brings several */
            (*signals)++;
        log_info("signal_received", LOG_INT("signal", info.ssi_signo),
                 LOG_INT("sender", info.ssi_pid));
    }
}

/* ---- turning ---- */

static void wait_for_something(const struct service *s)
{
    struct pollfd fds[INGEST_DESCRIPTORS + 1] = { { .fd = s->signal_fd, .events = POLLIN } };
    size_t n = 1 + ingest_wait_for(s->ingest, fds + 1);

    (void)poll(fds, n, ingest_has_more(s->ingest) ? 0 : TURN_MS);
}

/* Once; until then a start that takes longer than systemd allows is not its failure. */
static void tell_ready(struct service *s)
{
    if (s->reported_ready)
        return;
    s->reported_ready = s->metrics->subscribed;
    if (s->reported_ready)
        systemd_notify_ready();
    else
        systemd_notify_starting(&s->systemd_notify, s->metrics->loop_last_tick_ms);
}

static void turn(struct service *s)
{
    struct service_metrics *m = s->metrics;

    wait_for_something(s);
    int64_t began_us = clock_utc_us();
    service_read_signals(s->signal_fd, &s->signals);
    s->broken = !ingest_turn(s->ingest, s->err);
    int64_t took_us = clock_utc_us() - began_us;
    if (took_us > m->loop_longest_turn_us)
        m->loop_longest_turn_us = took_us;
    m->loop_ticks++;
    m->loop_last_tick_ms = clock_ms();
    tell_ready(s);
    systemd_notify_alive(&s->systemd_notify, m->loop_last_tick_ms);
}

/* ---- states ---- */

static enum state drain(struct service *s)
{
    const struct slots_ports *slots = &s->ports->slots;
    int64_t now_ms = clock_ms();

    s->drain_until_ms = now_ms + s->settings->drain_seconds * 1000;
    s->metrics->draining = true;
    ingest_stop_intake(s->ingest);
    shutdown_deadline_note("runs");
    shutdown_deadline_arm(s->drain_until_ms + HARD_DEADLINE_MS);
    systemd_notify_stopping(s->drain_until_ms + HARD_DEADLINE_MS + EXIT_MS - now_ms);
    slots->drain(slots->opaque, s->drain_until_ms);
    return DRAINING;
}

static enum state start_close(struct service *s)
{
    struct error err = ERROR_INIT;

    shutdown_deadline_note("leaving the consumer group");
    s->close_until_ms = clock_ms() + CLOSE_MS;
    if (!ingest_leave(s->ingest, &err)) {
        log_warn("group_not_left", LOG_ERROR_OF(&err));
        return OVER;
    }
    return CLOSING;
}

static enum state running(struct service *s)
{
    turn(s);
    return s->signals > 0 ? drain(s) : RUNNING;
}

/* Written again by their next owner if they are left now. */
static bool has_letters(const struct service *s)
{
    return ingest_dead_letters(s->ingest) + ingest_unmarked(s->ingest) > 0;
}

/* Until no slot has a run, what they recorded last has come back, and its letters are written. */
static enum state draining(struct service *s)
{
    const struct slots_ports *slots = &s->ports->slots;
    int64_t now_ms = clock_ms();

    turn(s);
    if (s->signals > 1) {
        slots->cancel(slots->opaque);
        return start_close(s);
    }
    if (slots->busy(slots->opaque) > 0 && now_ms < s->drain_until_ms)
        return DRAINING;
    if (s->settle_until_ms == 0)
        s->settle_until_ms = now_ms + SETTLE_MS;
    int64_t until_ms = s->settle_until_ms + (has_letters(s) ? LETTERS_MS : 0);
    if (ingest_n_open(s->ingest) > 0 && now_ms < until_ms)
        return DRAINING;
    return start_close(s);
}

static enum state closing(struct service *s)
{
    turn(s);
    if (ingest_has_left(s->ingest))
        return OVER;
    if (clock_ms() < s->close_until_ms)
        return CLOSING;
    log_warn("group_not_left", LOG_STR("error", "no answer from the coordinator in time"));
    return OVER;
}

static enum state step(struct service *s, enum state state)
{
    switch (state) {
    case RUNNING:
        state = running(s);
        break;
    case DRAINING:
        state = draining(s);
        break;
    case CLOSING:
        state = closing(s);
        break;
    case OVER:
    case FAILED:
        break;
    }
    return s->broken ? FAILED : state;
}

static bool drive(struct service *s)
{
    enum state state = RUNNING;

    while (state != OVER && state != FAILED) {
        enum state next = step(s, state);
        if (next != state)
            log_info("service_state", LOG_STR("from", state_names[state]),
                     LOG_STR("to", state_names[next]),
                     LOG_INT("open_events", ingest_n_open(s->ingest)),
                     LOG_INT("busy_slots", s->ports->slots.busy(s->ports->slots.opaque)));
        state = next;
    }
    s->metrics->subscribed = false;
    return state == OVER;
}

/* ---- beginning and end ---- */

bool service_loop(const struct settings *settings, const struct service_ports *ports,
                  struct service_metrics *metrics, struct error *err)
{
    struct service s = { .settings = settings,
                         .ports = ports,
                         .metrics = metrics,
                         .err = err,
                         .systemd_notify = systemd_notify_init(),
                         .signal_fd = service_open_signals() };

    if (s.signal_fd < 0)
        return error_errno(err, ERROR_FATAL, "reading signals");
    s.ingest = ingest_new(settings, &ports->intake, metrics, err);
    bool stopped = s.ingest != NULL;
    if (stopped) {
        log_info("service_started", LOG_STR("topic", settings->kafka_topic),
                 LOG_STR("group", settings->kafka_group_id));
        stopped = drive(&s);
    }
    shutdown_deadline_note("closing connections");
    if (!stopped) /* else it is since the drain began */
        shutdown_deadline_arm(clock_ms() + HARD_DEADLINE_MS);
    shutdown_deadline_end_waiting(clock_ms() + LAST_WRITES_MS);
    ingest_free(s.ingest);
    (void)close(s.signal_fd);
    if (stopped)
        log_info("service_stopped");
    return stopped;
}
