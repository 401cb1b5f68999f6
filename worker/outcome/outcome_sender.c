#include "worker/outcome/outcome_sender.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/retry.h"
#include "common/wakeup.h"
#include "worker/kafka/producer.h"
#include "worker/outcome/outcome_event.h"
#include "worker/outcome/outcome_flight.h"
#include "worker/store/db.h"

enum {
    TICK_MS = 1000, /* without notifications: behind some poolers there are none */
    LAST_MS = 2000, /* for what ended last, when the service stops */
    BACK_OFF_MIN_MS = 200,
    LATE_MS = 5000, /* without an answer the broker counts as unreachable */
    REPEAT_MS = 60 * 1000,
};

/* A failure that is logged when it begins and once a minute. */
struct complaint {
    int64_t said_ms; /* 0: all is well */
};

struct outcome_sender {
    const struct settings *settings;
    struct service_metrics *metrics;
    struct producer *producer;
    pthread_t thread;
    int stop_fd;

    /* Of the thread. */
    struct db *db; /* NULL: never reached */
    struct outcome_flight flight;
    int64_t config_changes; /* that the producer knows of */
    unsigned attempts;      /* in vain, in a row */
    int64_t not_before_ms;  /* when the broker is to be tried again */
    int64_t heard_ms;       /* when the broker answered last; 0: never */
    int64_t database_ms;    /* when the database is to be tried again */
    struct complaint broker, database;
};

/* True: it is to be logged now. */
static bool complain(struct complaint *complaint)
{
    int64_t now_ms = clock_ms();

    if (complaint->said_ms > 0 && now_ms - complaint->said_ms < REPEAT_MS)
        return false;
    complaint->said_ms = now_ms;
    return true;
}

/* ---- the broker ---- */

static const struct retry_policy policy = { .base_ms = 400, .cap_ms = 10000 };

static void say_waiting(struct outcome_sender *s, const char *why)
{
    if (complain(&s->broker))
        log_error("outcomes_waiting", LOG_STR("topic", s->settings->kafka_outcome_topic),
                  LOG_INT("count", (int64_t)outcome_flight_n(&s->flight)), LOG_STR("error", why));
}

static void not_sent(struct outcome_sender *s, struct outcome_in_flight *item, const char *why)
{
    s->metrics->outcome_retries++;
    log_warn("outcome_not_sent", LOG_INT("run", item->run_id), LOG_STR("error", why));
    say_waiting(s, why);
    s->attempts++;
    s->not_before_ms =
        clock_ms() + retry_wait_ms(policy, s->attempts, randombytes_random(), BACK_OFF_MIN_MS);
    item->fate = OUTCOME_RETURNED;
}

static void acknowledged(struct outcome_sender *s, struct outcome_in_flight *item,
                         const struct producer_report *report)
{
    s->metrics->outcomes_sent++;
    log_debug("outcome_sent", LOG_INT("run", item->run_id), LOG_INT("outcome", item->outcome_id),
              LOG_INT("partition", report->partition), LOG_INT("offset", report->offset),
              LOG_INT("reduced", item->reduced));
    s->attempts = 0;
    s->not_before_ms = 0;
    item->fate = OUTCOME_ACKNOWLEDGED;
}

static void take_report(struct outcome_sender *s, const struct producer_report *report)
{
    struct outcome_in_flight *item = report->tag;

    switch (report->outcome) {
    case PRODUCER_DELIVERED:
        acknowledged(s, item, report);
        return;
    case PRODUCER_TOO_LARGE:
        if (item->reduced) /* it cannot shrink further: the broker's limit must be raised */
            not_sent(s, item, report->text);
        else
            item->fate = OUTCOME_TOO_LARGE;
        return;
    case PRODUCER_FAILED:
        not_sent(s, item, report->text);
        return;
    }
}

/* They are sent one after the other: the last of many waits long though the broker is fine. */
static bool is_silent(const struct outcome_sender *s)
{
    int64_t oldest_ms = outcome_flight_oldest_ms(&s->flight);
    int64_t since_ms = oldest_ms > s->heard_ms ? oldest_ms : s->heard_ms;

    return oldest_ms > 0 && clock_ms() - since_ms >= LATE_MS;
}

static void take_reports(struct outcome_sender *s)
{
    struct producer_report report;

    while (producer_next(s->producer, &report)) {
        s->heard_ms = clock_ms();
        take_report(s, &report);
    }
    if (is_silent(s))
        say_waiting(s, "no broker has acknowledged them yet");
}

static void follow_config(struct outcome_sender *s)
{
    int64_t changes = s->metrics->kafka_config_changes;

    if (changes == s->config_changes)
        return;
    s->config_changes = changes;
    producer_renew(s->producer);
    s->attempts = 0;
    s->not_before_ms = 0;
}

static void send_one(struct outcome_sender *s, const struct outcome *outcome)
{
    struct outcome_in_flight *item = outcome_flight_add(&s->flight, outcome, clock_ms());
    CLEANUP(record_freep) struct record *record = outcome_event_record(outcome);
    struct error err = ERROR_INIT;

    if (!record)
        (void)error_no_memory(&err);
    else if (producer_produce(s->producer, s->settings->kafka_outcome_topic, record, item, &err))
        return;
    not_sent(s, item, err.text);
}

/* ---- the database ---- */

static void database_failed(struct outcome_sender *s, const struct error *err)
{
    s->database_ms = clock_ms() + TICK_MS;
    if (complain(&s->database))
        log_warn("database_unavailable", LOG_STR("who", "outcomes"), LOG_ERROR_OF(err));
}

/* Not at a connection: a standby that does not say so lets us in, and takes no writes. */
static void database_worked(struct outcome_sender *s)
{
    s->database.said_ms = 0;
}

static bool open_database(struct outcome_sender *s, struct error *err)
{
    const struct db_options how = { .url = s->settings->database_url,
                                    .name = "klaviyo-worker outcomes",
                                    .service = true,
                                    .stop_fd = &s->stop_fd };
    struct error ignored = ERROR_INIT;

    if (!db_open(&s->db, &how, err))
        return false;
    (void)!db_listen(s->db, DB_CHANNEL_RUNS, &ignored); /* else the tick does */
    return true;
}

static bool reach_database(struct outcome_sender *s)
{
    struct error err = ERROR_INIT;

    if (clock_ms() < s->database_ms)
        return false;
    if (s->db ? db_ready(s->db, &err) : open_database(s, &err))
        return true;
    database_failed(s, &err);
    return false;
}

static void record_fates(struct outcome_sender *s)
{
    int64_t now_ms = clock_ms(), ids[OUTCOME_FLIGHT_MAX];
    enum outcome_fate fates[OUTCOME_FLIGHT_MAX];
    struct outcome_fates due = { ids, fates, outcome_flight_due(&s->flight, now_ms, ids, fates) };
    struct error err = ERROR_INIT;

    if (due.n == 0 || !reach_database(s))
        return;
    if (!outcomes_settle(s->db, &due, OUTCOME_CLAIM_MS, &err)) {
        database_failed(s, &err);
        return;
    }
    database_worked(s);
    outcome_flight_recorded(&s->flight, now_ms);
}

/* Nothing is left to be sent: whatever was wrong with the broker is over. */
static void note_all_is_sent(struct outcome_sender *s)
{
    if (s->broker.said_ms == 0 || outcome_flight_n(&s->flight) > 0)
        return;
    log_info("outcomes_sent_again", LOG_STR("topic", s->settings->kafka_outcome_topic));
    s->broker.said_ms = 0;
}

/* Claims what there is room for and hands it to the producer; how many. */
static size_t send_some(struct outcome_sender *s)
{
    CLEANUP(outcomes_release) struct outcomes claimed = { .n = 0 };
    struct error err = ERROR_INIT;
    size_t bytes, rows = outcome_flight_room(&s->flight, &bytes);

    if (rows == 0 || clock_ms() < s->not_before_ms || !reach_database(s))
        return 0;
    struct outcome_claim claim = { (int64_t)rows, (int64_t)bytes, OUTCOME_CLAIM_MS };
    if (!outcomes_claim(s->db, &claim, &claimed, &err)) {
        database_failed(s, &err);
        return 0;
    }
    database_worked(s);
    for (size_t i = 0; i < claimed.n; i++)
        send_one(s, &claimed.items[i]);
    if (claimed.n > 0)
        FAILPOINT("outcomes_handed_over");
    else
        note_all_is_sent(s);
    return claimed.n;
}

/* ---- the thread ---- */

/* False: it is to stop. */
static bool wait_for_something(struct outcome_sender *s)
{
    struct pollfd fds[] = {
        { .fd = s->stop_fd, .events = POLLIN },
        { .fd = producer_fd(s->producer), .events = POLLIN },
        { .fd = s->db ? db_socket(s->db) : -1, .events = POLLIN },
    };

    (void)poll(fds, 3, TICK_MS);
    if (fds[2].revents)
        (void)db_notified(s->db);
    return fds[0].revents == 0;
}

/* What ended last, in the time there is; then others may have what is left. */
static void finish(struct outcome_sender *s)
{
    int64_t until_ms = clock_ms() + LAST_MS;

    while (send_some(s) > 0 || outcome_flight_oldest_ms(&s->flight) > 0) {
        struct pollfd fd = { .fd = producer_fd(s->producer), .events = POLLIN };
        int64_t left_ms = until_ms - clock_ms();
        if (left_ms <= 0 || s->not_before_ms > 0)
            break;
        (void)poll(&fd, 1, (int)left_ms);
        take_reports(s);
        record_fates(s);
    }
    outcome_flight_give_up(&s->flight);
    record_fates(s);
}

static void *outcome_sender_main(void *argument)
{
    struct outcome_sender *s = argument;

    do {
        follow_config(s);
        take_reports(s);
        record_fates(s);
        (void)send_some(s);
    } while (wait_for_something(s));
    finish(s);
    db_free(s->db);
    return NULL;
}

static void release(struct outcome_sender *s)
{
    producer_free(s->producer);
    if (s->stop_fd >= 0)
        (void)close(s->stop_fd);
    free(s);
}

struct outcome_sender *outcome_sender_start(const struct settings *settings,
                                            struct service_metrics *metrics, struct error *err)
{
    struct outcome_sender *s = calloc(1, sizeof *s);

    if (!s) {
        (void)error_no_memory(err);
        return NULL;
    }
    s->settings = settings;
    s->metrics = metrics;
    s->config_changes = metrics->kafka_config_changes;
    s->stop_fd = wakeup_open(err);
    s->producer = s->stop_fd >= 0 ? producer_new(settings, err) : NULL;
    if (!s->producer) {
        release(s);
        return NULL;
    }
    if (pthread_create(&s->thread, NULL, outcome_sender_main, s) != 0) {
        release(s);
        (void)error_set(err, ERROR_FATAL, "no thread for outcome events");
        return NULL;
    }
    return s;
}

void outcome_sender_free(struct outcome_sender *s)
{
    if (!s)
        return;
    wakeup_signal(s->stop_fd);
    (void)pthread_join(s->thread, NULL);
    release(s);
}
