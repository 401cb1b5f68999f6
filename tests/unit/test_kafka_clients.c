#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/unit/mock_cluster.h"
#include "worker/kafka/consumer.h"
#include "worker/kafka/producer.h"
#include "worker/kafka/reader.h"
#include "worker/kafka/topic_maker.h"
#include "worker/kafka/topics.h"

enum { DEADLINE_MS = 20000, SEND_MS = 10000, OFFSET_COMMIT = 8 /* of Kafka's requests */ };

static const struct record_header headers[] = {
    { "ce_id", "e-1", 3 },
    { "empty", "", 0 },
    { "null", NULL, 0 },
};

static struct record a_record(const char *key, const char *value)
{
    return (struct record){ .timestamp_ms = 1764000000000,
                            .key = key,
                            .key_bytes = strlen(key),
                            .value = value,
                            .value_bytes = value ? strlen(value) : 0,
                            .headers = headers,
                            .headers_n = 3 };
}

static void send_text(struct producer *producer, const char *topic, const char *value)
{
    struct error err = ERROR_INIT;
    struct record record = a_record("key", value);

    if (!producer_send(producer, topic, &record, SEND_MS, &err))
        fail_msg("%s", err.text);
}

static struct producer *new_producer(const struct mock_cluster *mock)
{
    struct error err = ERROR_INIT;
    struct producer *producer = producer_new(&mock->settings, &err);

    if (!producer)
        fail_msg("%s", err.text);
    return producer;
}

static struct consumer *new_consumer(const struct mock_cluster *mock)
{
    struct error err = ERROR_INIT;
    struct consumer *consumer = consumer_new(&mock->settings, &err);

    if (!consumer)
        fail_msg("%s", err.text);
    return consumer;
}

static void answer(struct consumer *consumer, struct consumer_event *event)
{
    struct error err = ERROR_INIT;
    bool ok = true;

    if (event->kind == CONSUMER_ASSIGNED)
        ok = consumer_accept(consumer, event, &err);
    if (event->kind == CONSUMER_REVOKED || event->kind == CONSUMER_LOST)
        ok = consumer_unassign(consumer, event, &err);
    if (!ok)
        fail_msg("%s", err.text);
}

/* The next event of that kind; those before it are answered. Wakes by the descriptor alone. */
static void await(struct consumer *consumer, enum consumer_event_kind kind,
                  struct consumer_event *event)
{
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (clock_ms() < until_ms) {
        consumer_next(consumer, event);
        if (event->kind == kind)
            return;
        if (event->kind == CONSUMER_NONE) {
            struct pollfd readable = { .fd = consumer_fd(consumer), .events = POLLIN };
            (void)poll(&readable, 1, 1000);
            continue;
        }
        answer(consumer, event);
        consumer_done(consumer, event);
    }
    fail_msg("no event of kind %d came", (int)kind);
}

static void close_cleanly(struct consumer *consumer)
{
    struct error err = ERROR_INIT;
    struct consumer_event event = { .kind = CONSUMER_NONE };
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    assert_true(consumer_close(consumer, &err));
    while (!consumer_closed(consumer)) {
        assert_true(clock_ms() < until_ms);
        consumer_next(consumer, &event);
        if (event.kind == CONSUMER_NONE) {
            (void)poll(NULL, 0, 5);
            continue;
        }
        answer(consumer, &event);
        consumer_done(consumer, &event);
    }
}

static void a_record_arrives_as_it_was_sent(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };

    (void)state;
    send_text(producer, "events", "hello");
    await(consumer, CONSUMER_MESSAGE, &event);
    assert_string_equal(event.record.topic, "events");
    assert_int_equal(event.record.offset, 0);
    assert_int_equal(event.record.timestamp_ms, 1764000000000);
    assert_memory_equal(event.record.key, "key", 3);
    assert_int_equal(event.record.value_bytes, 5);
    assert_memory_equal(event.record.value, "hello", 5);
    assert_int_equal(event.record.headers_n, 3);
    assert_string_equal(event.record.headers[0].name, "ce_id");
    assert_memory_equal(event.record.headers[0].value, "e-1", 3);
    assert_non_null(event.record.headers[1].value);
    assert_null(event.record.headers[2].value);
    consumer_done(consumer, &event);

    send_text(producer, "events", NULL);
    await(consumer, CONSUMER_MESSAGE, &event);
    assert_null(event.record.value);
    consumer_done(consumer, &event);

    send_text(producer, "events", "");
    await(consumer, CONSUMER_MESSAGE, &event);
    assert_non_null(event.record.value);
    assert_int_equal(event.record.value_bytes, 0);
    consumer_done(consumer, &event);

    consumer_free(consumer);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void the_end_of_a_partition_is_told_with_its_offset(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };

    (void)state;
    await(consumer, CONSUMER_END, &event);
    assert_int_equal(event.offset, 0);
    consumer_done(consumer, &event);
    send_text(producer, "events", "one");
    await(consumer, CONSUMER_END, &event);
    assert_int_equal(event.offset, 1);
    consumer_done(consumer, &event);
    assert_int_equal(consumer_end_offset(consumer, 0), 1);
    assert_int_equal(consumer_end_offset(consumer, 7), -1);

    consumer_free(consumer);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void what_was_stored_is_committed_in_the_background_and_at_the_close(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *first = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };
    struct topic_progress progress;
    struct error err = ERROR_INIT;

    (void)state;
    for (int i = 0; i < 5; i++)
        send_text(producer, "events", "x");
    await(first, CONSUMER_END, &event);
    consumer_done(first, &event);
    assert_true(consumer_store(first, 0, 3));
    await(first, CONSUMER_COMMITTED, &event);
    assert_int_equal(event.partitions_n, 1);
    assert_int_equal(consumer_event_partition(&event, 0).partition, 0);
    assert_int_equal(consumer_event_partition(&event, 0).offset, 3);
    consumer_done(first, &event);
    assert_true(consumer_store(first, 0, 4)); /* committed by the close */
    close_cleanly(first);
    consumer_free(first);

    assert_true(topics_progress(&mock.settings, 0, &progress, 5000, &err));
    assert_int_equal(progress.committed, 4);
    assert_int_equal(progress.begin, 0);
    assert_int_equal(progress.end, 5);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

/* One after the other, so that each waits for a whole interval. */
static void what_was_stored_is_committed_soon(void **state)
{
    enum { STORES = 5, SOON_MS = 500 };
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };

    (void)state;
    for (int i = 0; i < STORES; i++)
        send_text(producer, "events", "x");
    await(consumer, CONSUMER_END, &event);
    consumer_done(consumer, &event);
    int64_t began_ms = clock_ms();
    for (int i = 1; i <= STORES; i++) {
        assert_true(consumer_store(consumer, 0, i));
        await(consumer, CONSUMER_COMMITTED, &event);
        consumer_done(consumer, &event);
    }
    assert_in_range(clock_ms() - began_ms, 0, STORES * SOON_MS);
    consumer_free(consumer);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

/* Requests of that kind are refused once, a second late; librdkafka sends the request again. */
static void refuse_one_commit(const struct mock_cluster *mock)
{
    enum { LATE_MS = 1000 };

    assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(
                         mock->cluster, 1, OFFSET_COMMIT, 1,
                         RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, LATE_MS),
                     0);
}

/* Commits that are heard of up to that offset: none goes back. */
static void assert_commits_ascend_to(struct consumer *consumer, int64_t last)
{
    enum { QUIET_MS = 1500 }; /* and for that long after it */
    struct consumer_event event = { .kind = CONSUMER_NONE };
    int64_t highest = -1;
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (clock_ms() < until_ms) {
        consumer_next(consumer, &event);
        if (event.kind == CONSUMER_NONE) {
            (void)poll(NULL, 0, 10);
            continue;
        }
        if (event.kind == CONSUMER_COMMITTED) {
            int64_t offset = consumer_event_partition(&event, 0).offset;
            assert_in_range(offset, highest < 0 ? 0 : highest, last);
            if (offset == last && highest != last)
                until_ms = clock_ms() + QUIET_MS;
            highest = offset;
        }
        consumer_done(consumer, &event);
    }
    assert_int_equal(highest, last);
}

static void no_commit_is_overtaken_by_an_older_one(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };

    (void)state;
    for (int i = 0; i < 5; i++)
        send_text(producer, "events", "x");
    await(consumer, CONSUMER_END, &event);
    consumer_done(consumer, &event);

    refuse_one_commit(&mock);
    assert_true(consumer_begin(consumer, 0, 0));
    assert_true(consumer_store(consumer, 0, 3));
    assert_commits_ascend_to(consumer, 3);

    refuse_one_commit(&mock);
    assert_true(consumer_store(consumer, 0, 4));
    (void)poll(NULL, 0, 300); /* the timer sends it */
    assert_true(consumer_store(consumer, 0, 5));
    assert_commits_ascend_to(consumer, 5);
    consumer_free(consumer);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void a_refused_commit_is_an_error_and_no_commit(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };

    (void)state;
    send_text(producer, "events", "x");
    await(consumer, CONSUMER_END, &event);
    consumer_done(consumer, &event);
    rd_kafka_mock_push_request_errors(mock.cluster, OFFSET_COMMIT, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_true(consumer_store(consumer, 0, 1));
    do
        consumer_next(consumer, &event);
    while (event.kind == CONSUMER_NONE);
    assert_int_equal(event.kind, CONSUMER_ERROR);
    assert_true(event.error.of_commit);
    consumer_done(consumer, &event);
    await(consumer, CONSUMER_COMMITTED, &event); /* the timer has sent it again */
    assert_int_equal(consumer_event_partition(&event, 0).offset, 1);
    consumer_done(consumer, &event);
    consumer_free(consumer);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void a_partition_may_begin_below_what_was_committed(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };
    struct topic_progress progress;
    struct error err = ERROR_INIT;

    (void)state;
    for (int i = 0; i < 5; i++)
        send_text(producer, "events", "x");
    await(consumer, CONSUMER_END, &event);
    consumer_done(consumer, &event);
    assert_true(consumer_begin(consumer, 0, 5));
    await(consumer, CONSUMER_COMMITTED, &event);
    consumer_done(consumer, &event);
    assert_true(consumer_begin(consumer, 0, 1));
    assert_commits_ascend_to(consumer, 1);
    assert_true(consumer_store(consumer, 0, 2));
    assert_commits_ascend_to(consumer, 2);
    close_cleanly(consumer);
    consumer_free(consumer);

    assert_true(topics_progress(&mock.settings, 0, &progress, 5000, &err));
    assert_int_equal(progress.committed, 2);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void a_partition_not_ours_stores_nothing(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct consumer *consumer = new_consumer(&mock);

    (void)state;
    assert_false(consumer_store(consumer, 0, 3));
    consumer_free(consumer);
    mock_cluster_stop(&mock);
}

/* Every offset once and in order, with pauses in between that come at any message. */
static void a_pause_neither_skips_nor_repeats(void **state)
{
    enum { RECORDS = 120 };
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct consumer *consumer = new_consumer(&mock);
    struct consumer_event event = { .kind = CONSUMER_NONE };
    struct error err = ERROR_INIT;

    (void)state;
    for (int i = 0; i < RECORDS; i++)
        send_text(producer, "events", "x");
    for (int i = 0; i < RECORDS; i++) {
        await(consumer, CONSUMER_MESSAGE, &event);
        assert_int_equal(event.record.offset, i);
        consumer_done(consumer, &event);
        if (i % 37 != 0)
            continue;
        assert_true(consumer_pause(consumer, 0, &err));
        (void)poll(NULL, 0, 20);
        consumer_next(consumer, &event);
        assert_int_equal(event.kind, CONSUMER_NONE);
        assert_true(consumer_resume(consumer, 0, &err));
    }
    consumer_free(consumer);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void closing_is_quick_at_any_moment(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 3);

    (void)state;
    for (int wait_ms = 0; wait_ms < 400; wait_ms += 80) {
        struct consumer *consumer = new_consumer(&mock);
        struct consumer_event event = { .kind = CONSUMER_NONE };
        int64_t until_ms = clock_ms() + wait_ms;

        while (clock_ms() < until_ms) {
            consumer_next(consumer, &event);
            if (event.kind == CONSUMER_NONE)
                continue;
            answer(consumer, &event);
            consumer_done(consumer, &event);
        }
        int64_t began_ms = clock_ms();
        close_cleanly(consumer);
        assert_true(clock_ms() - began_ms < 2000);
        consumer_free(consumer);
    }
    mock_cluster_stop(&mock);
}

/* Many records in sets of 500, past our own producer, which waits for each. */
static void fill(const struct mock_cluster *mock, int records)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[256], value[] = "a record";

    rd_kafka_conf_set_log_cb(conf, ignore_log);
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers",
                                       mock->settings.kafka_bootstrap_servers, why, sizeof why),
                     RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "batch.num.messages", "500", why, sizeof why),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    assert_non_null(handle);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, "events", NULL);
    assert_non_null(topic);
    for (int i = 0; i < records; i++)
        assert_int_equal(rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, value,
                                          sizeof value - 1, NULL, 0, NULL),
                         0);
    assert_int_equal(rd_kafka_flush(handle, DEADLINE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(handle);
}

/* Fetches are on their way while the group is left: what they bring is nobody's. */
static void records_that_come_amid_the_close_do_no_harm(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 3);

    (void)state;
    fill(&mock, 30000);
    for (int read = 1; read < 3000; read += 900) {
        char group[32]; /* another one each time: the mock's is slow to take in a second member */
        (void)snprintf(group, sizeof group, "group-%d", read);
        mock.settings.kafka_group_id = group;
        struct consumer *consumer = new_consumer(&mock);
        struct consumer_event event = { .kind = CONSUMER_NONE };

        for (int i = 0; i < read; i++) {
            await(consumer, CONSUMER_MESSAGE, &event);
            consumer_done(consumer, &event);
        }
        close_cleanly(consumer);
        consumer_free(consumer);
    }
    mock_cluster_stop(&mock);
}

/* librdkafka looks once a second whether there is room for more, where there was none. */
static void a_backlog_is_read_without_pauses(void **state)
{
    enum { RECORDS = 5000, PAUSE_MS = 700 };
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct consumer_event event = { .kind = CONSUMER_NONE };
    int pauses = 0;

    (void)state;
    fill(&mock, RECORDS);
    struct consumer *consumer = new_consumer(&mock);
    await(consumer, CONSUMER_MESSAGE, &event);
    for (int i = 1; i < RECORDS; i++) {
        int64_t began_ms = clock_ms();
        consumer_done(consumer, &event);
        await(consumer, CONSUMER_MESSAGE, &event);
        pauses += clock_ms() - began_ms > PAUSE_MS;
    }
    consumer_done(consumer, &event);
    assert_in_range(pauses, 0, 1); /* another process may have the processor for so long */
    consumer_free(consumer);
    mock_cluster_stop(&mock);
}

static struct producer_report report_of(struct producer *producer)
{
    struct producer_report report;
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (!producer_next(producer, &report)) {
        struct pollfd readable = { .fd = producer_fd(producer), .events = POLLIN };
        (void)poll(&readable, 1, 1000);
        assert_true(clock_ms() < until_ms);
    }
    return report;
}

static void a_record_too_large_for_the_broker_is_told_apart(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct record record = a_record("key", "large");
    struct error err = ERROR_INIT;
    int tag;

    (void)state;
    send_text(producer, "dead", "warm up");
    rd_kafka_mock_push_request_errors(mock.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_true(producer_produce(producer, "dead", &record, &tag, &err));
    struct producer_report report = report_of(producer);
    assert_int_equal(report.outcome, PRODUCER_TOO_LARGE);
    assert_ptr_equal(report.tag, &tag);

    record.value = NULL;
    record.value_bytes = 0;
    assert_true(producer_produce(producer, "dead", &record, &tag, &err));
    assert_int_equal(report_of(producer).outcome, PRODUCER_DELIVERED);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

/* Real brokers take the second one for a start then, and the first one for a double. */
static void a_record_waits_until_the_broker_has_the_one_before_it(void **state)
{
    enum { RECORDS = 4 };
    struct mock_cluster mock = mock_cluster_start("events", 1);
    struct producer *producer = new_producer(&mock);
    struct record record = a_record("key", "x");
    struct error err = ERROR_INIT;
    int tags[RECORDS];

    (void)state;
    send_text(producer, "dead", "warm up");
    rd_kafka_mock_push_request_errors(mock.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    for (int i = 0; i < RECORDS; i++)
        assert_true(producer_produce(producer, "dead", &record, &tags[i], &err));
    for (int i = 0; i < RECORDS; i++) {
        struct producer_report report = report_of(producer);

        assert_int_equal(report.outcome, PRODUCER_DELIVERED);
        assert_ptr_equal(report.tag, &tags[i]);
        assert_int_equal(report.offset, 1 + i);
    }
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void a_broker_out_of_reach_is_a_reason_to_try_again(void **state)
{
    const struct settings settings = { .kafka_bootstrap_servers = "127.0.0.1:9",
                                       .kafka_config_file = "",
                                       .kafka_topic = "events",
                                       .kafka_dead_letter_topic = "dead",
                                       .kafka_outcome_topic = "",
                                       .kafka_group_id = "workers" };
    struct topic_status topic = { .name = "events" };
    struct error err = ERROR_INIT;
    struct record record = a_record("key", "x");

    (void)state;
    assert_false(topics_look(&settings, &topic, 1, 500, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_non_null(strstr(err.text, "check KAFKA_BOOTSTRAP_SERVERS"));

    struct producer *producer = producer_new(&settings, &err);
    assert_non_null(producer);
    err = ERROR_INIT;
    assert_false(producer_send(producer, "events", &record, 500, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_non_null(strstr(err.text, "check KAFKA_BOOTSTRAP_SERVERS"));
    producer_free(producer);
}

static void a_record_that_no_broker_took_in_time_may_be_sent_again(void **state)
{
    static const char soon[] = "message.timeout.ms=200\n";
    char path[] = "/tmp/klaviyo-worker-kafka.XXXXXX";
    int fd = mkstemp(path);
    const struct settings settings = { .kafka_bootstrap_servers = "127.0.0.1:9",
                                       .kafka_config_file = path,
                                       .kafka_topic = "events",
                                       .kafka_dead_letter_topic = "dead",
                                       .kafka_outcome_topic = "",
                                       .kafka_group_id = "workers" };
    struct error err = ERROR_INIT;
    struct record record = a_record("key", "x");

    (void)state;
    assert_int_equal(write(fd, soon, sizeof soon - 1), sizeof soon - 1);
    struct producer *producer = producer_new(&settings, &err);
    assert_non_null(producer);
    assert_false(producer_send(producer, "events", &record, SEND_MS, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_non_null(strstr(err.text, "Kafka did not take the record"));
    producer_free(producer);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
}

/* Nothing is known of the first record when its client is renewed: it is told as not written. */
static const struct settings no_broker = { .kafka_bootstrap_servers = "127.0.0.1:9",
                                           .kafka_config_file = "",
                                           .kafka_topic = "events",
                                           .kafka_dead_letter_topic = "dead",
                                           .kafka_outcome_topic = "",
                                           .kafka_group_id = "workers" };

static void a_renewed_producer_reports_what_the_old_client_still_had(void **state)
{
    struct error err = ERROR_INIT;
    struct record record = a_record("key", "x");
    struct producer *producer = producer_new(&no_broker, &err);
    struct producer_report report;
    int first, second;

    (void)state;
    assert_non_null(producer);
    assert_true(producer_produce(producer, "dead", &record, &first, &err));
    assert_false(producer_next(producer, &report));
    producer_renew(producer);
    assert_true(producer_produce(producer, "dead", &record, &second, &err));
    assert_true(producer_next(producer, &report));
    assert_ptr_equal(report.tag, &first);
    assert_int_equal(report.outcome, PRODUCER_FAILED);
    assert_false(producer_next(producer, &report));
    producer_free(producer);
}

/* Whoever waits for the report has nothing more to write until it comes. */
static void a_renewed_producer_reports_it_without_another_record(void **state)
{
    struct error err = ERROR_INIT;
    struct record record = a_record("key", "x");
    struct producer *producer = producer_new(&no_broker, &err);
    struct pollfd fd = { .fd = producer_fd(producer), .events = POLLIN };
    struct producer_report report;
    int tag;

    (void)state;
    assert_true(producer_produce(producer, "dead", &record, &tag, &err));
    assert_false(producer_next(producer, &report));
    producer_renew(producer);
    assert_int_equal(poll(&fd, 1, 0), 1);
    assert_true(producer_next(producer, &report));
    assert_ptr_equal(report.tag, &tag);
    assert_int_equal(report.outcome, PRODUCER_FAILED);
    assert_true(report.passes);
    assert_false(producer_next(producer, &report));
    assert_true(producer_produce(producer, "dead", &record, &tag, &err));
    producer_free(producer);
}

static void topics_are_looked_at(void **state)
{
    struct mock_cluster mock = mock_cluster_start("events", 3);
    struct topic_status topics[] = { { .name = "events" }, { .name = "dead" } };
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(topics_look(&mock.settings, topics, 2, 5000, &err));
    assert_int_equal(topics[0].state, TOPIC_PRESENT);
    assert_int_equal(topics[0].partitions, 3);
    assert_int_equal(topics[1].state, TOPIC_PRESENT);
    assert_int_equal(topics[1].partitions, 1);
    mock_cluster_stop(&mock);
}

static void a_reader_reads_all_there_was_and_ends(void **state)
{
    enum { RECORDS = 50 };
    struct mock_cluster mock = mock_cluster_start("events", 3);
    struct producer *producer = new_producer(&mock);
    const struct record *record = NULL;
    struct error err = ERROR_INIT;
    char key[16];
    int n = 0;

    (void)state;
    for (int i = 0; i < RECORDS; i++) {
        (void)snprintf(key, sizeof key, "key-%d", i);
        struct record sent = a_record(key, "x");
        assert_true(producer_send(producer, "events", &sent, SEND_MS, &err));
    }
    struct reader *reader = reader_new(&mock.settings, "events", 5000, &err);
    assert_non_null(reader);
    send_text(producer, "events", "after the reader began");
    while (reader_next(reader, &record, &err) == READER_RECORD) {
        assert_int_equal(record->value_bytes, 1);
        n++;
    }
    assert_int_equal(err.kind, ERROR_NONE);
    assert_int_equal(n, RECORDS);
    reader_free(reader);

    reader = reader_new(&mock.settings, "dead", 5000, &err);
    assert_int_equal(reader_next(reader, &record, &err), READER_END);
    reader_free(reader);
    producer_free(producer);
    mock_cluster_stop(&mock);
}

static void the_file_of_properties_is_checked_without_showing_values(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "sasl.passwort=hunter2\n", "line 1: librdkafka" },
        { "\nsecurity.protocol=hunter2\n", "line 2: librdkafka" },
        { "auto.offset.reset=latest\n", "line 1: auto.offset.reset must be earliest" },
    };
    char path[] = "/tmp/klaviyo-worker-kafka.XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct settings settings = { .kafka_bootstrap_servers = "127.0.0.1:9",
                                     .kafka_config_file = path,
                                     .kafka_topic = "events",
                                     .kafka_group_id = "workers" };
        struct error err = ERROR_INIT;
        ssize_t n = (ssize_t)strlen(cases[i].text);

        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, cases[i].text, (size_t)n, 0), n);
        assert_null(consumer_new(&settings, &err));
        assert_int_equal(err.kind, ERROR_FATAL);
        assert_non_null(strstr(err.text, cases[i].says));
        assert_null(strstr(err.text, "hunter2"));
    }
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
}

static void a_topic_that_is_a_pattern_is_refused(void **state)
{
    const struct settings settings = { .kafka_bootstrap_servers = "127.0.0.1:9",
                                       .kafka_config_file = "",
                                       .kafka_topic = "^events",
                                       .kafka_group_id = "workers" };
    struct error err = ERROR_INIT;

    (void)state;
    assert_null(consumer_new(&settings, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
}

static void a_record_has_three_replicas_or_as_many_as_there_are_brokers(void **state)
{
    static const struct {
        int brokers, replicas, min_insync;
    } cases[] = { { 0, 1, 1 }, { 1, 1, 1 }, { 2, 2, 1 }, { 3, 3, 2 }, { 9, 3, 2 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int replicas = topic_maker_replicas(cases[i].brokers);

        assert_int_equal(replicas, cases[i].replicas);
        assert_int_equal(topic_maker_min_insync(replicas), cases[i].min_insync);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_arrives_as_it_was_sent),
        cmocka_unit_test(the_end_of_a_partition_is_told_with_its_offset),
        cmocka_unit_test(what_was_stored_is_committed_in_the_background_and_at_the_close),
        cmocka_unit_test(what_was_stored_is_committed_soon),
        cmocka_unit_test(no_commit_is_overtaken_by_an_older_one),
        cmocka_unit_test(a_refused_commit_is_an_error_and_no_commit),
        cmocka_unit_test(a_partition_may_begin_below_what_was_committed),
        cmocka_unit_test(a_partition_not_ours_stores_nothing),
        cmocka_unit_test(a_pause_neither_skips_nor_repeats),
        cmocka_unit_test(closing_is_quick_at_any_moment),
        cmocka_unit_test(a_backlog_is_read_without_pauses),
        cmocka_unit_test(records_that_come_amid_the_close_do_no_harm),
        cmocka_unit_test(a_record_too_large_for_the_broker_is_told_apart),
        cmocka_unit_test(a_record_waits_until_the_broker_has_the_one_before_it),
        cmocka_unit_test(a_broker_out_of_reach_is_a_reason_to_try_again),
        cmocka_unit_test(a_record_that_no_broker_took_in_time_may_be_sent_again),
        cmocka_unit_test(a_renewed_producer_reports_what_the_old_client_still_had),
        cmocka_unit_test(a_renewed_producer_reports_it_without_another_record),
        cmocka_unit_test(topics_are_looked_at),
        cmocka_unit_test(a_record_has_three_replicas_or_as_many_as_there_are_brokers),
        cmocka_unit_test(a_reader_reads_all_there_was_and_ends),
        cmocka_unit_test(the_file_of_properties_is_checked_without_showing_values),
        cmocka_unit_test(a_topic_that_is_a_pattern_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
