#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "tests/unit/mock_cluster.h"
#include "worker/kafka/producer.h"
#include "worker/kafka/reader.h"
#include "worker/kafka/topics.h"
#include "worker/service/service.h"
#include "worker/service/shutdown_deadline.h"

/*
 * The whole loop against a broker in this process, with a database and run
 * slots made of a few flags. The segment of an event says what becomes of it.
 */
enum { DEADLINE_MS = 30000, REQUESTS_MAX = 20000 };

struct world {
    pthread_mutex_t lock;
    int64_t next_id;
    bool is_dead[REQUESTS_MAX]; /* by request id */
    bool release;               /* open requests end */
    bool stalled;               /* the database does not answer */
    bool row_locked;            /* no letter can be marked */
    int marks, marks_held;
    int busy, drains, cancels;
};

static struct world world;
static struct service_metrics metrics;

static void lock(void)
{
    (void)pthread_mutex_lock(&world.lock);
}

static void unlock(void)
{
    (void)pthread_mutex_unlock(&world.lock);
}

static bool fake_connect(void *opaque, struct error *err)
{
    (void)opaque;
    (void)err;
    return true;
}

static void fake_disconnect(void *opaque)
{
    (void)opaque;
}

static struct event_row_result answer_one(const struct event_row *in)
{
    if (!in->reason && strcmp(in->segment_id, "nobody") == 0)
        return (struct event_row_result){ .state = EVENT_ROW_IGNORED };

    struct event_row_result out = { .request_id = ++world.next_id, .state = EVENT_ROW_OPEN };
    if (in->reason)
        out.state = EVENT_ROW_DEAD_LETTER_DUE;
    else
        world.is_dead[out.request_id] = strcmp(in->segment_id, "dies") == 0;
    return out;
}

static bool is_stalled(void)
{
    lock();
    bool stalled = world.stalled;
    unlock();
    return stalled;
}

static enum events_accepted fake_accept(void *opaque, const struct event_row *in, size_t n,
                                        bool one_by_one, struct event_row_result *out,
                                        struct error *err)
{
    (void)opaque;
    (void)one_by_one;
    (void)err;
    while (is_stalled())
        (void)poll(NULL, 0, 10);
    lock();
    for (size_t i = 0; i < n; i++)
        out[i] = answer_one(&in[i]);
    unlock();
    return EVENTS_ACCEPTED;
}

static bool fake_lock_holder(void *opaque, struct lock_holder *holder, struct error *err)
{
    (void)opaque;
    (void)err;
    *holder = (struct lock_holder){ .pid = 0 };
    return true;
}

static bool fake_ended(void *opaque, const struct event_key *keys, size_t n,
                       struct event_row_ends *ends, struct error *err)
{
    (void)opaque;
    (void)err;
    *ends = (struct event_row_ends){ .items = calloc(n + 1, sizeof *ends->items) };
    lock();
    for (size_t i = 0; i < n; i++) {
        struct event_row_end *end = &ends->items[ends->n];
        if (!world.release && !world.is_dead[keys[i].request_id])
            continue;
        end->nth = i;
        end->state = world.is_dead[keys[i].request_id] ? EVENT_ROW_DEAD_LETTER_DUE : EVENT_ROW_DONE;
        end->reason = world.is_dead[keys[i].request_id] ? strdup("list_gone") : NULL;
        ends->n++;
    }
    unlock();
    return true;
}

static bool fake_mark(void *opaque, const struct event_key *keys, size_t n, bool at_once,
                      bool *held, struct error *err)
{
    (void)opaque;
    (void)keys;
    (void)at_once;
    (void)err;
    lock();
    memset(held, world.row_locked, n * sizeof *held);
    *(world.row_locked ? &world.marks_held : &world.marks) += (int)n;
    unlock();
    return true;
}

static int fake_socket(void *opaque)
{
    (void)opaque;
    return -1;
}

static bool fake_notified(void *opaque)
{
    (void)opaque;
    return true;
}

static void fake_drain(void *opaque, int64_t deadline_ms)
{
    (void)opaque;
    (void)deadline_ms;
    lock();
    world.drains++;
    unlock();
}

static void fake_cancel(void *opaque)
{
    (void)opaque;
    lock();
    world.cancels++;
    world.busy = 0;
    unlock();
}

static int fake_busy(void *opaque)
{
    (void)opaque;
    lock();
    int busy = world.busy;
    unlock();
    return busy;
}

static const struct service_ports ports = {
    .intake = { .connect = fake_connect,
                .disconnect = fake_disconnect,
                .accept = fake_accept,
                .ended = fake_ended,
                .mark = fake_mark,
                .lock_holder = fake_lock_holder,
                .socket = fake_socket,
                .notified = fake_notified },
    .slots = { .drain = fake_drain, .cancel = fake_cancel, .busy = fake_busy },
};

/* One service on a thread of its own. */
struct stage {
    struct mock_cluster mock;
    struct producer *producer;
    pthread_t thread;
    struct error err;
    bool stopped;
};

static void *run_loop(void *opaque)
{
    struct stage *stage = opaque;

    stage->stopped = service_loop(&stage->mock.settings, &ports, &metrics, &stage->err);
    return NULL;
}

static struct stage *raise_curtain(void)
{
    struct stage *stage = calloc(1, sizeof *stage);

    assert_non_null(stage);
    world = (struct world){ .lock = PTHREAD_MUTEX_INITIALIZER };
    service_metrics_init(&metrics);
    stage->mock = mock_cluster_start("events", 1);
    stage->mock.settings.drain_seconds = 10;
    stage->producer = producer_new(&stage->mock.settings, &stage->err);
    assert_non_null(stage->producer);
    assert_int_equal(pthread_create(&stage->thread, NULL, run_loop, stage), 0);
    return stage;
}

static void terminate(void)
{
    assert_int_equal(kill(getpid(), SIGTERM), 0);
}

static void drop_curtain(struct stage *stage)
{
    assert_int_equal(pthread_join(stage->thread, NULL), 0);
    shutdown_deadline_disarm();
    if (!stage->stopped)
        fail_msg("%s", stage->err.text);
    producer_free(stage->producer);
    mock_cluster_stop(&stage->mock);
    service_metrics_release(&metrics);
    free(stage);
}

static void publish(struct stage *stage, const char *value)
{
    const struct record record = { .timestamp_ms = 1764000000000,
                                   .key = "k",
                                   .key_bytes = 1,
                                   .value = value,
                                   .value_bytes = value ? strlen(value) : 0 };
    struct error err = ERROR_INIT;

    if (!producer_send(stage->producer, "events", &record, 10000, &err))
        fail_msg("%s", err.text);
}

static void publish_segment(struct stage *stage, const char *segment)
{
    char value[256];

    (void)snprintf(value, sizeof value,
                   "{\"segment_id\":\"%s\",\"refresh_id\":\"r\","
                   "\"refreshed_at\":\"2026-11-24T08:00:47Z\"}",
                   segment);
    publish(stage, value);
}

static int64_t committed(const struct stage *stage)
{
    struct topic_progress progress;
    struct error err = ERROR_INIT;

    assert_true(topics_progress(&stage->mock.settings, 0, &progress, 5000, &err));
    return progress.committed;
}

static void await_committed(const struct stage *stage, int64_t offset)
{
    int64_t until_ms = clock_ms() + DEADLINE_MS;
    int64_t found;

    while ((found = committed(stage)) != offset) {
        if (clock_ms() > until_ms)
            fail_msg("committed is %lld, not %lld", (long long)found, (long long)offset);
        (void)poll(NULL, 0, 100);
    }
}

static void await_count(const atomic_llong *counter, long long n)
{
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (*counter < n) {
        if (clock_ms() > until_ms)
            fail_msg("count is %lld, not %lld", (long long)*counter, n);
        (void)poll(NULL, 0, 10);
    }
}

static bool header_is(const struct record *record, const char *name, const char *expected)
{
    const struct record_header *header = record_header_find(record, name);

    return header && header->value_bytes == strlen(expected) &&
           memcmp(header->value, expected, header->value_bytes) == 0;
}

static void offsets_follow_their_events_to_the_end(void **state)
{
    struct stage *stage = raise_curtain();

    (void)state;
    publish_segment(stage, "nobody"); /* 0 */
    publish(stage, NULL);             /* 1 */
    publish_segment(stage, "waits");  /* 2 */
    publish(stage, "{}");             /* 3 */
    publish_segment(stage, "dies");   /* 4 */
    publish_segment(stage, "nobody"); /* 5 */
    await_count(&metrics.events_received, 6);
    await_committed(stage, 2);
    await_count(&metrics.events_done, 2); /* the two dead ones, dead_lettered and marked */
    assert_int_equal(committed(stage), 2);
    lock();
    assert_int_equal(world.marks, 2);
    world.release = true;
    unlock();
    await_committed(stage, 6);
    assert_int_equal(metrics.events_tombstone, 1);
    assert_int_equal(metrics.events_ignored, 2);
    assert_int_equal(metrics.events_invalid, 1);
    assert_int_equal(metrics.events_dead, 2);

    struct service_reason reasons[4];
    assert_int_equal(service_metrics_reasons(&metrics, reasons, 4), 2);
    terminate();
    drop_curtain(stage);
}

static void a_dead_letter_is_written_before_the_offset_moves(void **state)
{
    struct stage *stage = raise_curtain();
    const struct record *letter;
    struct error err = ERROR_INIT;

    (void)state;
    /* The first letter is too large for the broker; the second attempt fails otherwise. */
    rd_kafka_mock_push_request_errors(stage->mock.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_NO_ERROR); /* our own event */
    rd_kafka_mock_push_request_errors(stage->mock.cluster, 0, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    rd_kafka_mock_push_request_errors(stage->mock.cluster, 0, 1,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    publish(stage, "{\"segment_id\":1}");
    await_committed(stage, 1);
    assert_true(metrics.dead_letter_retries >= 1);
    assert_int_equal(metrics.dead_letters_without_value, 1);

    struct reader *reader = reader_new(&stage->mock.settings, "dead", 5000, &err);
    assert_non_null(reader);
    assert_int_equal(reader_next(reader, &letter, &err), READER_RECORD);
    assert_null(letter->value);
    assert_true(header_is(letter, "x-klaviyo-worker-value-bytes", "16"));
    assert_true(header_is(letter, "x-klaviyo-worker-reason", "event_invalid"));
    assert_true(header_is(letter, "__connect.errors.topic", "events"));
    assert_true(
        header_is(letter, "__connect.errors.exception.message", "segment_id is not a string"));
    assert_int_equal(reader_next(reader, &letter, &err), READER_END);
    reader_free(reader);
    terminate();
    drop_curtain(stage);
}

static void a_stop_waits_for_the_runs_and_takes_no_more_events(void **state)
{
    struct stage *stage = raise_curtain();

    (void)state;
    publish_segment(stage, "waits");
    await_count(&metrics.events_received, 1);
    lock();
    world.busy = 1;
    unlock();
    terminate();
    int64_t until_ms = clock_ms() + DEADLINE_MS;
    while (!metrics.draining && clock_ms() < until_ms)
        (void)poll(NULL, 0, 10);
    publish_segment(stage, "nobody");
    (void)poll(NULL, 0, 500);
    assert_int_equal(metrics.events_received, 1);
    lock();
    assert_int_equal(world.drains, 1);
    assert_int_equal(world.cancels, 0);
    world.release = true; /* the run ends */
    world.busy = 0;
    unlock();
    assert_int_equal(pthread_join(stage->thread, NULL), 0);
    shutdown_deadline_disarm();
    assert_true(stage->stopped);
    assert_int_equal(committed(stage), 1);
    producer_free(stage->producer);
    mock_cluster_stop(&stage->mock);
    service_metrics_release(&metrics);
    free(stage);
}

static void await_held_marks(int n)
{
    int64_t until_ms = clock_ms() + DEADLINE_MS;
    int found = 0;

    while (found < n && clock_ms() < until_ms) {
        lock();
        found = world.marks_held;
        unlock();
        (void)poll(NULL, 0, 10);
    }
    assert_true(found >= n);
}

/* Else its next owner would write the letter again. */
static void a_letter_whose_lock_goes_during_the_stop_is_marked_and_its_offset_stored(void **state)
{
    struct stage *stage = raise_curtain();

    (void)state;
    world.row_locked = true;
    publish_segment(stage, "dies");
    await_held_marks(3); /* it is left alone for two seconds now */
    terminate();
    (void)poll(NULL, 0, 1000);
    lock();
    world.row_locked = false;
    unlock();
    assert_int_equal(pthread_join(stage->thread, NULL), 0);
    shutdown_deadline_disarm();
    assert_true(stage->stopped);
    assert_int_equal(world.marks, 1);
    assert_int_equal(committed(stage), 1);
    producer_free(stage->producer);
    mock_cluster_stop(&stage->mock);
    service_metrics_release(&metrics);
    free(stage);
}

static void a_second_signal_cuts_the_runs_off(void **state)
{
    struct stage *stage = raise_curtain();

    (void)state;
    lock();
    world.busy = 1;
    unlock();
    await_count(&metrics.loop_ticks, 1);
    terminate();
    int64_t until_ms = clock_ms() + DEADLINE_MS;
    while (!metrics.draining && clock_ms() < until_ms)
        (void)poll(NULL, 0, 10);
    int64_t began_ms = clock_ms();
    terminate();
    drop_curtain(stage);
    assert_true(clock_ms() - began_ms < 8000);
    assert_int_equal(world.cancels, 1);
}

/* A terminal that goes away sends it, and whoever has a session with it once more. */
static void a_hang_up_drains_and_another_one_hurries_nobody(void **state)
{
    struct stage *stage = raise_curtain();

    (void)state;
    lock();
    world.busy = 1;
    unlock();
    await_count(&metrics.loop_ticks, 1);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    int64_t until_ms = clock_ms() + DEADLINE_MS;
    while (!metrics.draining && clock_ms() < until_ms)
        (void)poll(NULL, 0, 10);
    assert_int_equal(kill(getpid(), SIGHUP), 0);
    await_count(&metrics.loop_ticks, metrics.loop_ticks + 3);
    assert_int_equal(world.cancels, 0);
    assert_int_equal(kill(getpid(), SIGQUIT), 0);
    drop_curtain(stage);
    assert_int_equal(world.cancels, 1);
}

/* More events than may be in memory wait in Kafka, and the loop turns meanwhile. */
static void a_full_worker_pauses_and_goes_on(void **state)
{
    enum { EVENTS = 4600 };
    struct stage *stage = raise_curtain();

    (void)state;
    lock();
    world.stalled = true;
    unlock();
    for (int i = 0; i < EVENTS; i++)
        publish_segment(stage, "waits");
    await_count(&metrics.pauses, 1);
    assert_true(metrics.events_open < EVENTS);
    (void)poll(NULL, 0, 500);
    assert_true(metrics.events_open < EVENTS);
    assert_true(clock_ms() - metrics.loop_last_tick_ms < 1000);
    lock();
    world.stalled = false;
    unlock();
    await_count(&metrics.events_received, EVENTS); /* none of them has ended */
    await_count(&metrics.resumes, 1);
    lock();
    world.release = true;
    unlock();
    await_committed(stage, EVENTS);
    assert_int_equal(metrics.partitions_paused, 0);
    assert_int_equal(metrics.events_received, EVENTS);
    assert_int_equal(metrics.events_duplicate, 0);
    terminate();
    drop_curtain(stage);
}

static int64_t armed_for_ms; /* 0: not armed */

void __wrap_shutdown_deadline_arm(int64_t deadline_ms);
void __wrap_shutdown_deadline_arm(int64_t deadline_ms)
{
    void __real_shutdown_deadline_arm(int64_t);

    armed_for_ms = deadline_ms;
    __real_shutdown_deadline_arm(deadline_ms);
}

/* What it then closes may wait for a database that stands still. */
static void a_failure_has_a_deadline_too(void **state)
{
    const struct settings settings = { .kafka_config_file = "",
                                       .kafka_bootstrap_servers = "127.0.0.1:9",
                                       .kafka_topic = "^no-pattern",
                                       .kafka_dead_letter_topic = "dead",
                                       .kafka_outcome_topic = "",
                                       .kafka_group_id = "workers" };
    struct error err = ERROR_INIT;

    (void)state;
    world = (struct world){ .lock = PTHREAD_MUTEX_INITIALIZER };
    service_metrics_init(&metrics);
    armed_for_ms = 0;
    assert_false(service_loop(&settings, &ports, &metrics, &err));
    assert_in_range(armed_for_ms, clock_ms() + 1, clock_ms() + 10000);
    shutdown_deadline_disarm();
    service_metrics_release(&metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_has_a_deadline_too),
        cmocka_unit_test(offsets_follow_their_events_to_the_end),
        cmocka_unit_test(a_dead_letter_is_written_before_the_offset_moves),
        cmocka_unit_test(a_stop_waits_for_the_runs_and_takes_no_more_events),
        cmocka_unit_test(a_letter_whose_lock_goes_during_the_stop_is_marked_and_its_offset_stored),
        cmocka_unit_test(a_second_signal_cuts_the_runs_off),
        cmocka_unit_test(a_hang_up_drains_and_another_one_hurries_nobody),
        cmocka_unit_test(a_full_worker_pauses_and_goes_on),
    };

    service_block_signals();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
