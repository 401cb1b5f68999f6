#include "worker/service/service.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/kafka/consumer.h"
#include "worker/service/admission.h"
#include "worker/service/assignment.h"
#include "worker/service/letters.h"
#include "worker/service/watchdog.h"

enum {
    TURN_MS = 100, /* at least so often the loop turns */
    HOLD_BACK_MS = 200,
    EVENTS_A_TURN = 500,
    FIGURES_MS = 500,         /* between snapshots of the partitions */
    CLOSE_MS = 5000,          /* for leaving the group */
    LETTERS_MS = 2000,        /* for dead letters on their way when everything else has ended */
    SETTLE_MS = 500,          /* for ends that were recorded last to come back */
    HARD_DEADLINE_MS = 10000, /* beyond DRAIN_SECONDS */
    ERROR_REPEAT_MS = 60000,  /* the same error of Kafka is logged so often */
    ERRORS_REMEMBERED = 8,
};

enum state { RUNNING, DRAINING, CLOSING, OVER, FAILED };

struct seen_error {
    const char *code; /* librdkafka's own text, which lives for ever */
    int64_t ms;
};

struct service {
    const struct settings *settings;
    const struct service_ports *ports;
    struct service_metrics *metrics;
    struct error *err; /* why it FAILED */
    struct consumer *consumer;
    struct intake *intake;
    struct letters *letters;
    struct assignment *assignment;
    struct admission admission;
    int signal_fd;
    int signals;      /* how many came */
    bool more_events; /* the consumer has more than was taken this turn */
    bool broken;      /* err is set: the loop cannot go on */
    int64_t full_ms;  /* since when admission is full */
    int64_t figures_ms;
    int64_t drain_until_ms, settle_until_ms, close_until_ms;
    struct seen_error seen[ERRORS_REMEMBERED];
};

static const char *const state_names[] = { "running", "draining", "closing", "over", "failed" };

/* ---- signals ---- */

static void our_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
}

void service_block_signals(void)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigset_t set;

    our_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

static void read_signals(struct service *s)
{
    struct signalfd_siginfo info;

    while (read(s->signal_fd, &info, sizeof info) == sizeof info) {
        s->signals++;
        log_info("signal_received", LOG_INT("signal", info.ssi_signo),
                 LOG_INT("sender", info.ssi_pid));
    }
}

/* ---- events that end ---- */

static void give_up(struct service *s, enum error_kind kind, const char *why)
{
    if (!s->broken)
        (void)error_set(s->err, kind, "%s", why);
    s->broken = true;
}

static void close_event(struct service *s, struct open_event *event)
{
    assignment_end(s->assignment, event->record->partition, event->epoch, event->record->offset);
    admission_give(&s->admission, event->bytes);
    open_event_free(event);
}

static void take_end(struct service *s, struct open_event *event)
{
    switch (event->state) {
    case OPEN_EVENT_DONE:
        s->metrics->events_done++;
        break;
    case OPEN_EVENT_IGNORED:
        s->metrics->events_ignored++;
        break;
    case OPEN_EVENT_DROPPED:
        s->metrics->events_dropped++;
        break;
    case OPEN_EVENT_DEAD:
        s->metrics->events_dead++;
        letters_add(s->letters, event);
        return;
    case OPEN_EVENT_NEW:
    case OPEN_EVENT_BURIED:
        assert(false && "intake gives no such event back");
        break;
    }
    close_event(s, event);
}

static void take_ends(struct service *s)
{
    struct open_event_list ended = { 0 };
    struct open_event_list buried = { 0 };

    intake_collect(s->intake, &ended);
    for (struct open_event *event; (event = open_event_pop(&ended));)
        take_end(s, event);
    letters_turn(s->letters, &buried);
    intake_submit(s->intake, &buried);
}

/* ---- events that come ---- */

static char *copy_text(const char *text)
{
    char *copy = strdup(text);

    assert(copy);
    return copy;
}

/* The event as intake will get it; NULL: out of memory. */
static struct open_event *open_event_of(const struct record *record, int64_t epoch,
                                        struct event *parsed, const char *invalid)
{
    struct record *copy = record_copy(record);
    struct open_event *event = copy ? open_event_new(copy, epoch) : NULL;

    if (!event) {
        event_release(parsed);
        return NULL;
    }
    event->valid = !invalid;
    event->event = *parsed;
    if (invalid) {
        event->reason = copy_text("event_invalid");
        event->detail = copy_text(invalid);
    }
    return event;
}

static void open_one(struct service *s, const struct record *record, int64_t epoch,
                     struct open_event_list *opened)
{
    struct event parsed = EVENT_INIT;
    struct error why = ERROR_INIT;
    enum event_verdict verdict = event_parse(record, &parsed, &why);

    if (verdict == EVENT_TOMBSTONE) {
        s->metrics->events_tombstone++;
        assignment_end(s->assignment, record->partition, epoch, record->offset);
        return;
    }
    if (verdict == EVENT_INVALID) {
        s->metrics->events_invalid++;
        log_warn("event_invalid", LOG_INT("partition", record->partition),
                 LOG_INT("offset", record->offset), LOG_ERROR_OF(&why));
    }
    struct open_event *event = NULL;
    if (verdict != EVENT_NO_MEMORY)
        event = open_event_of(record, epoch, &parsed, verdict == EVENT_INVALID ? why.text : NULL);
    if (!event) {
        give_up(s, ERROR_FATAL, "out of memory while taking an event");
        return;
    }
    admission_take(&s->admission, event->bytes);
    open_event_push(opened, event);
}

static void take_message(struct service *s, const struct record *record,
                         struct open_event_list *opened)
{
    int64_t epoch = -1;

    if (s->signals > 0) { /* it stays where it is, for the next owner */
        assignment_pause(s->assignment, s->consumer, record->partition);
        return;
    }
    s->metrics->events_received++;
    switch (assignment_deliver(s->assignment, record->partition, record->offset, &epoch)) {
    case OFFSETS_REWOUND:
        s->metrics->rewinds++;
        log_warn("partition_rewound", LOG_INT("partition", record->partition),
                 LOG_INT("offset", record->offset));
        open_one(s, record, epoch, opened);
        break;
    case OFFSETS_OPENED:
        open_one(s, record, epoch, opened);
        break;
    case OFFSETS_DUPLICATE:
    case OFFSETS_NOT_OURS:
        s->metrics->events_duplicate++;
        break;
    case OFFSETS_NO_MEMORY:
        give_up(s, ERROR_FATAL, "out of memory while taking an event");
        break;
    }
    if (s->admission.full)
        assignment_pause(s->assignment, s->consumer, record->partition);
}

/* ---- the group ---- */

static void take_assignment(struct service *s, const struct consumer_event *event)
{
    struct error err = ERROR_INIT;

    s->metrics->subscribed = true;
    s->metrics->rebalances_assigned++;
    assignment_log("partitions_assigned", event);
    if (!assignment_add(s->assignment, event))
        give_up(s, ERROR_FATAL, "out of memory while taking partitions");
    else if (!consumer_accept(s->consumer, event, &err))
        log_warn("assignment_refused", LOG_ERROR_OF(&err));
}

/* What has ended is stored first, then the partitions are gone at once; no run is touched. */
static void let_go(struct service *s, const struct consumer_event *event)
{
    struct error err = ERROR_INIT;

    if (event->kind == CONSUMER_REVOKED) {
        s->metrics->rebalances_revoked++;
        take_ends(s);
        assignment_store(s->assignment, s->consumer);
        assignment_log("partitions_revoked", event);
    } else {
        s->metrics->rebalances_lost++;
        assignment_log("partitions_lost", event);
    }
    if (!consumer_let_go(s->consumer, event, &err))
        log_warn("revocation_refused", LOG_ERROR_OF(&err));
    assignment_remove(s->assignment, event);
    for (size_t i = 0; i < event->partitions_n; i++)
        intake_drop(s->intake, consumer_event_partition(event, i).partition);
}

/* True when that error was not logged of late. */
static bool is_news(struct service *s, const char *code)
{
    struct seen_error *oldest = &s->seen[0];
    int64_t now_ms = clock_ms();

    for (size_t i = 0; i < ERRORS_REMEMBERED; i++) {
        struct seen_error *seen = &s->seen[i];
        if (seen->code && strcmp(seen->code, code) == 0) {
            bool news = now_ms - seen->ms >= ERROR_REPEAT_MS;
            if (news)
                seen->ms = now_ms;
            return news;
        }
        if (!seen->code || (oldest->code && seen->ms < oldest->ms))
            oldest = seen;
    }
    *oldest = (struct seen_error){ .code = code, .ms = now_ms };
    return true;
}

static void take_error(struct service *s, const struct consumer_error *error)
{
    s->metrics->kafka_errors++;
    if (is_news(s, error->code))
        log_at(error->passing ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "kafka_error",
               LOG_STR("code", error->code), LOG_STR("reason", error->text),
               LOG_STR("hint", error->hint ? error->hint : ""));
    if (error->fatal)
        give_up(s, ERROR_FATAL, error->text);
}

static void take_consumer_event(struct service *s, const struct consumer_event *event,
                                struct open_event_list *opened)
{
    switch (event->kind) {
    case CONSUMER_MESSAGE:
        take_message(s, &event->record, opened);
        break;
    case CONSUMER_ASSIGNED:
        take_assignment(s, event);
        break;
    case CONSUMER_REVOKED:
    case CONSUMER_LOST:
        intake_submit(s->intake, opened); /* before they are dropped there */
        let_go(s, event);
        break;
    case CONSUMER_END:
        if (s->signals == 0) /* messages may have been left out since */
            assignment_reached(s->assignment, event->partition, event->offset);
        break;
    case CONSUMER_COMMITTED:
        s->metrics->commits++;
        assignment_committed(s->assignment, event);
        break;
    case CONSUMER_ERROR:
        take_error(s, &event->error);
        break;
    case CONSUMER_NONE:
        break;
    }
}

/*
 * A short fullness is waited out: pausing throws away what librdkafka has
 * fetched ahead. A longer one is met by pausing, since the group wants polls.
 */
static bool holds_back(const struct service *s)
{
    return s->admission.full && clock_ms() - s->full_ms < HOLD_BACK_MS;
}

static void take_events(struct service *s)
{
    struct open_event_list opened = { 0 };
    struct consumer_event event = { .kind = CONSUMER_NONE };

    s->more_events = !holds_back(s);
    for (int i = 0; i < EVENTS_A_TURN && s->more_events; i++) {
        bool was_full = s->admission.full;
        consumer_next(s->consumer, &event);
        if (event.kind == CONSUMER_NONE) {
            s->more_events = false;
            break;
        }
        take_consumer_event(s, &event, &opened);
        consumer_done(s->consumer, &event);
        if (s->admission.full && !was_full) {
            s->full_ms = clock_ms();
            s->more_events = false;
        }
    }
    intake_submit(s->intake, &opened);
}

/* ---- turning ---- */

static void wait_for_something(struct service *s)
{
    struct pollfd fds[] = {
        { .fd = s->signal_fd, .events = POLLIN },
        { .fd = intake_fd(s->intake), .events = POLLIN },
        { .fd = letters_fd(s->letters), .events = POLLIN },
        { .fd = holds_back(s) ? -1 : consumer_fd(s->consumer), .events = POLLIN },
    };

    (void)poll(fds, sizeof fds / sizeof fds[0], s->more_events ? 0 : TURN_MS);
}

static void publish_figures(struct service *s)
{
    struct service_metrics *m = s->metrics;
    int64_t now_ms = clock_ms();

    m->loop_ticks++;
    m->loop_last_tick_ms = now_ms;
    m->events_open = (long long)s->admission.events;
    m->events_open_bytes = (long long)s->admission.bytes;
    if (now_ms - s->figures_ms < FIGURES_MS)
        return;
    s->figures_ms = now_ms;
    assignment_publish(s->assignment, s->consumer, m);
}

static void turn(struct service *s)
{
    wait_for_something(s);
    int64_t began_us = clock_utc_us();
    read_signals(s);
    take_ends(s);
    take_events(s);
    assignment_store(s->assignment, s->consumer);
    if (!s->admission.full && s->signals == 0)
        assignment_resume(s->assignment, s->consumer);
    publish_figures(s);
    int64_t took_us = clock_utc_us() - began_us;
    if (took_us > s->metrics->loop_longest_turn_us)
        s->metrics->loop_longest_turn_us = took_us;
}

/* ---- states ---- */

static enum state drain(struct service *s)
{
    const struct slots_ports *slots = &s->ports->slots;
    int64_t now_ms = clock_ms();

    s->drain_until_ms = now_ms + s->settings->drain_seconds * 1000;
    s->metrics->draining = true;
    watchdog_note("runs");
    watchdog_arm(s->drain_until_ms + HARD_DEADLINE_MS);
    slots->drain(slots->world, s->drain_until_ms);
    return DRAINING;
}

static enum state start_close(struct service *s)
{
    struct error err = ERROR_INIT;

    watchdog_note("leaving the consumer group");
    s->close_until_ms = clock_ms() + CLOSE_MS;
    if (!consumer_close(s->consumer, &err)) {
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

/* Until no slot has a run, what they recorded last has come back, and its letters are written. */
static enum state draining(struct service *s)
{
    const struct slots_ports *slots = &s->ports->slots;
    int64_t now_ms = clock_ms();

    turn(s);
    if (s->signals > 1) {
        slots->cancel(slots->world);
        return start_close(s);
    }
    if (slots->busy(slots->world) > 0 && now_ms < s->drain_until_ms)
        return DRAINING;
    if (s->settle_until_ms == 0)
        s->settle_until_ms = now_ms + SETTLE_MS;
    int64_t until_ms = s->settle_until_ms + (letters_n(s->letters) > 0 ? LETTERS_MS : 0);
    if (s->admission.events > 0 && now_ms < until_ms)
        return DRAINING;
    return start_close(s);
}

static enum state closing(struct service *s)
{
    turn(s);
    if (consumer_closed(s->consumer))
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
                     LOG_STR("to", state_names[next]), LOG_INT("open_events", s->admission.events),
                     LOG_INT("busy_slots", s->ports->slots.busy(s->ports->slots.world)));
        state = next;
    }
    s->metrics->subscribed = false;
    return state == OVER;
}

/* ---- beginning and end ---- */

static bool open_all(struct service *s)
{
    sigset_t set;

    our_signals(&set);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0)
        return error_errno(s->err, ERROR_FATAL, "reading signals");
    s->assignment = assignment_new(s->metrics);
    if (!s->assignment)
        return error_no_memory(s->err);
    s->letters = letters_new(s->settings, s->metrics, s->err);
    if (!s->letters)
        return false;
    s->intake = intake_start(&s->ports->intake, s->metrics, s->err);
    if (!s->intake)
        return false;
    s->consumer = consumer_new(s->settings, s->err);
    return s->consumer != NULL;
}

static void close_all(struct service *s)
{
    watchdog_note("the Kafka client");
    consumer_free(s->consumer);
    watchdog_note("the database");
    intake_free(s->intake);
    watchdog_note("dead letters");
    letters_free(s->letters);
    assignment_free(s->assignment);
    if (s->signal_fd >= 0)
        (void)close(s->signal_fd);
}

bool service_loop(const struct settings *settings, const struct service_ports *ports,
                  struct service_metrics *metrics, struct error *err)
{
    struct service s = {
        .settings = settings, .ports = ports, .metrics = metrics, .err = err, .signal_fd = -1
    };
    bool stopped = open_all(&s);

    if (stopped) {
        log_info("service_started", LOG_STR("topic", settings->kafka_topic),
                 LOG_STR("group", settings->kafka_group_id));
        stopped = drive(&s);
    }
    close_all(&s);
    if (stopped)
        log_info("service_stopped");
    return stopped;
}
