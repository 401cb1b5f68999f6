#include "worker/kafka/producer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/wakeup.h"
#include "worker/kafka/failure.h"
#include "worker/kafka/handle.h"

/* One record handed over: among those awaited, then among those that are reported. */
struct noted_report {
    TAILQ_ENTRY(noted_report) entry;
    struct producer_report report;
};

TAILQ_HEAD(reports, noted_report);

struct producer {
    const struct settings *settings;
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    int fd;
    struct reports awaited, ready;
    rd_kafka_resp_err_t last_error; /* why brokers are out of reach, for a caller that waits */
    rd_kafka_resp_err_t fatal;      /* why it is broken; 0: it is not */
    const char *right;              /* what a user needs to write to the topic of the last record */
    bool broken;                    /* to be renewed: when its order is in doubt it is closed */
};

static enum producer_outcome outcome_of(rd_kafka_resp_err_t code)
{
    if (!code)
        return PRODUCER_DELIVERED;
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
        code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE)
        return PRODUCER_TOO_LARGE;
    return PRODUCER_FAILED;
}

static void clear_reports(struct reports *reports)
{
    while (!TAILQ_EMPTY(reports)) {
        struct noted_report *note = TAILQ_FIRST(reports);

        TAILQ_REMOVE(reports, note, entry);
        free(note);
    }
}

static bool is_purged(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT ||
           code == RD_KAFKA_RESP_ERR__FATAL || code == RD_KAFKA_RESP_ERR__DESTROY;
}

/* An idempotent producer whose order is in doubt: a new one has no such doubt. */
static bool is_doubt(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID ||
           code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH || code == RD_KAFKA_RESP_ERR__FATAL ||
           code == RD_KAFKA_RESP_ERR__DESTROY;
}

static void report(struct producer *producer, struct noted_report *note, rd_kafka_resp_err_t code)
{
    struct error why = ERROR_INIT;

    note->report.outcome = outcome_of(code);
    if (code) {
        rd_kafka_resp_err_t cause = is_purged(code) && producer->fatal ? producer->fatal : code;
        (void)kafka_failure_right(&why, producer->handle, cause, "Kafka did not take the record",
                                  producer->right);
        note->report.passes = kafka_failure_passes(cause) || is_doubt(cause);
        (void)snprintf(note->report.text, sizeof note->report.text, "%.255s", why.text);
    }
    TAILQ_REMOVE(&producer->awaited, note, entry);
    TAILQ_INSERT_TAIL(&producer->ready, note, entry);
}

static void on_delivered(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    struct noted_report *note = message->_private;

    note->report.partition = message->partition;
    note->report.offset = message->offset >= 0 ? message->offset : -1;
    report(opaque, note, message->err);
}

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    struct producer *producer = opaque;
    const char *hint = kafka_failure_hint(handle, code);

    bool known = (rd_kafka_resp_err_t)code == producer->last_error;
    producer->last_error = code;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        char text[256];
        producer->broken = true;
        producer->fatal = rd_kafka_fatal_error(handle, text, sizeof text);
        producer->last_error = producer->fatal;
    }
    log_at(known || kafka_failure_passes(code) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN,
           "kafka_producer_error", LOG_STR("code", rd_kafka_err2name(code)),
           LOG_STR("reason", reason), LOG_STR("hint", hint));
}

static bool open_handle(struct producer *producer, struct error *err)
{
    const struct kafka_handle_callbacks callbacks = {
        .opaque = producer,
        .error = on_error,
        .delivered = on_delivered,
    };

    producer->handle = kafka_handle_new(producer->settings, HANDLE_WRITER, &callbacks, err);
    if (!producer->handle)
        return false;
    producer->queue = rd_kafka_queue_get_main(producer->handle);
    kafka_handle_watch(producer->queue, producer->fd);
    producer->broken = false;
    producer->fatal = 0;
    return true;
}

/*
 * Reports of what it still held come meanwhile. A broken handle may never send some:
 * records without a report count as not delivered.
 */
static void close_handle(struct producer *producer, bool at_end)
{
    if (!producer->handle)
        return;
    (void)rd_kafka_purge(producer->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(producer->handle, 500);
    while (!TAILQ_EMPTY(&producer->awaited))
        report(producer, TAILQ_FIRST(&producer->awaited), RD_KAFKA_RESP_ERR__DESTROY);
    rd_kafka_queue_io_event_enable(producer->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(producer->queue);
    if (at_end)
        (void)kafka_handle_free(producer->handle);
    else
        kafka_handle_retire(producer->handle);
    producer->handle = NULL;
}

struct producer *producer_new(const struct settings *settings, struct error *err)
{
    struct producer *producer = calloc(1, sizeof *producer);
    if (!producer) {
        (void)error_no_memory(err);
        return NULL;
    }
    TAILQ_INIT(&producer->awaited);
    TAILQ_INIT(&producer->ready);
    producer->settings = settings;
    producer->fd = wakeup_open(err);
    if (producer->fd < 0 || !open_handle(producer, err)) {
        producer_free(producer);
        return NULL;
    }
    return producer;
}

void producer_free(struct producer *producer)
{
    if (!producer)
        return;
    close_handle(producer, true);
    clear_reports(&producer->awaited);
    clear_reports(&producer->ready);
    if (producer->fd >= 0)
        (void)close(producer->fd);
    free(producer);
}

void producer_renew(struct producer *producer)
{
    producer->broken = true;
    wakeup_signal(producer->fd);
}

int producer_fd(const struct producer *producer)
{
    return producer->fd;
}

static rd_kafka_headers_t *headers_of(const struct record *record)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->headers_n);

    for (size_t i = 0; i < record->headers_n; i++) {
        const struct record_header *header = &record->headers[i];
        (void)rd_kafka_header_add(headers, header->name, -1, header->value,
                                  (ssize_t)header->value_bytes);
    }
    return headers;
}

/* librdkafka wants a pointer that is not const, to what it copies. */
static void *unconst(const void *bytes)
{
    const union {
        const void *from;
        void *to;
    } pointer = { .from = bytes };

    return pointer.to;
}

static rd_kafka_resp_err_t hand_over(struct producer *producer, const char *topic,
                                     const struct record *record, void *tag)
{
    rd_kafka_headers_t *headers = headers_of(record);
    int64_t timestamp_ms = record->timestamp_ms > 0 ? record->timestamp_ms : 0; /* 0: now */
    const rd_kafka_vu_t parts[] = {
        { .vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic },
        { .vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY },
        { .vtype = RD_KAFKA_VTYPE_KEY, .u.mem = { unconst(record->key), record->key_bytes } },
        { .vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = { unconst(record->value), record->value_bytes } },
        { .vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_ms },
        { .vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = tag },
        { .vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers },
    };
    rd_kafka_error_t *refusal =
        rd_kafka_produceva(producer->handle, parts, sizeof parts / sizeof parts[0]);
    rd_kafka_resp_err_t code = refusal ? rd_kafka_error_code(refusal) : 0;

    if (refusal) {
        rd_kafka_error_destroy(refusal);
        rd_kafka_headers_destroy(headers); /* else the message's */
    }
    return code;
}

static bool renew_if_broken(struct producer *producer, struct error *err)
{
    if (producer->broken) {
        close_handle(producer, false);
        log_info("kafka_producer_renewed");
    }
    return producer->handle || open_handle(producer, err);
}

static const char *right_of(const struct settings *settings, const char *topic)
{
    if (strcmp(topic, settings->kafka_topic) == 0)
        return "Describe and Write on KAFKA_TOPIC";
    if (strcmp(topic, settings->kafka_outcome_topic) == 0)
        return "Describe and Write on KAFKA_OUTCOME_TOPIC";
    return "Describe and Write on KAFKA_DEAD_LETTER_TOPIC";
}

bool producer_produce(struct producer *producer, const char *topic, const struct record *record,
                      void *tag, struct error *err)
{
    producer->right = right_of(producer->settings, topic);
    if (!renew_if_broken(producer, err))
        return false;

    struct noted_report *note = calloc(1, sizeof *note);
    if (!note)
        return error_no_memory(err);
    note->report.tag = tag;
    TAILQ_INSERT_TAIL(&producer->awaited, note, entry);
    rd_kafka_resp_err_t code = hand_over(producer, topic, record, note);
    if (!code)
        return true;
    if (outcome_of(code) ==
        PRODUCER_TOO_LARGE) { /* its own limit: reported as the broker's would be */
        report(producer, note, code);
        return true;
    }
    TAILQ_REMOVE(&producer->awaited, note, entry);
    free(note);
    return kafka_failure_right(err, producer->handle, code, "handing a record to librdkafka",
                               producer->right);
}

bool producer_next(struct producer *producer, struct producer_report *out)
{
    if (TAILQ_EMPTY(&producer->ready)) {
        (void)wakeup_clear(producer->fd);
        if (producer->broken)
            close_handle(producer, false);
        else if (producer->handle)
            (void)rd_kafka_poll(producer->handle, 0);
    }
    struct noted_report *note = TAILQ_FIRST(&producer->ready);
    if (!note)
        return false;
    TAILQ_REMOVE(&producer->ready, note, entry);
    *out = note->report;
    free(note);
    return true;
}

static bool judge(const struct producer_report *report, struct error *err)
{
    switch (report->outcome) {
    case PRODUCER_DELIVERED:
        return true;
    case PRODUCER_TOO_LARGE:
        return error_set(err, ERROR_INPUT, "%s", report->text);
    case PRODUCER_FAILED:
        break;
    }
    return error_set(err, report->passes ? ERROR_RETRY : ERROR_INPUT, "%s", report->text);
}

bool producer_send(struct producer *producer, const char *topic, const struct record *record,
                   int64_t timeout_ms, struct error *err)
{
    int64_t until_ms = clock_ms() + timeout_ms;
    struct producer_report report;

    if (!producer_produce(producer, topic, record, NULL, err))
        return false;
    for (;;) {
        if (producer_next(producer, &report))
            return judge(&report, err);
        int64_t left_ms = until_ms - clock_ms();
        if (left_ms <= 0)
            break;
        (void)rd_kafka_poll(producer->handle, left_ms < 100 ? (int)left_ms : 100);
    }
    (void)rd_kafka_purge(producer->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(producer->handle, 500);
    while (producer_next(producer, &report))
        if (report.outcome == PRODUCER_DELIVERED)
            return true;
    rd_kafka_resp_err_t why =
        producer->last_error ? producer->last_error : RD_KAFKA_RESP_ERR__TIMED_OUT;
    return kafka_failure_right(err, producer->handle, why,
                               "no broker acknowledged the record in time", producer->right);
}
