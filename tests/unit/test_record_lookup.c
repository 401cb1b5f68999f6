#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <string.h>

#include "common/clock.h"
#include "tests/unit/mock_cluster.h"
#include "worker/kafka/producer.h"
#include "worker/kafka/record_lookup.h"

enum {
    DEADLINE_MS = 20000,
    SEND_MS = 10000,
    LONG_MS = 3600 * 1000,
    MINUTE_MS = 60 * 1000,
    PARTITIONS = 1
};

static const char topic[] = "events";

struct world {
    struct mock_cluster mock;
    struct producer *producer;
    struct record_lookup *lookup;
};

/* In place: the clients keep a pointer to its settings. */
static void world_start(struct world *w)
{
    struct error err = ERROR_INIT;

    w->mock = mock_cluster_start(topic, PARTITIONS);
    w->producer = producer_new(&w->mock.settings, &err);
    assert_non_null(w->producer);
    w->lookup = record_lookup_new(&w->mock.settings, &err);
    assert_non_null(w->lookup);
}

static void world_stop(struct world *w)
{
    record_lookup_free(w->lookup);
    producer_free(w->producer);
    mock_cluster_stop(&w->mock);
}

static void produce(struct world *w, const char *value)
{
    struct record record = { .value = value, .value_bytes = strlen(value) };
    struct error err = ERROR_INIT;

    if (!producer_send(w->producer, topic, &record, SEND_MS, &err))
        fail_msg("%s", err.text);
}

/* What the lookup comes to, at the time that it takes for now. */
static enum record_lookup_result look(struct world *w, int64_t ahead_ms,
                                      const struct record **record)
{
    enum record_lookup_result result = RECORD_LOOKUP_PENDING;
    int64_t until = clock_ms() + DEADLINE_MS;

    while (result == RECORD_LOOKUP_PENDING && clock_ms() < until) {
        struct pollfd fd = { .fd = record_lookup_fd(w->lookup), .events = POLLIN };

        (void)poll(&fd, 1, 50);
        result = record_lookup_poll(w->lookup, clock_ms() + ahead_ms, record);
    }
    return result;
}

static void assert_found(struct world *w, int64_t offset, const char *value)
{
    const struct record *record = NULL;

    record_lookup_want(w->lookup, 0, offset);
    assert_int_equal(look(w, 0, &record), RECORD_LOOKUP_FOUND);
    assert_true(record && record->offset == offset && record->value_bytes == strlen(value) &&
                memcmp(record->value, value, strlen(value)) == 0);
}

/* Until librdkafka has something to say: the end of the partition, where nothing else is left. */
static void wait_for_word(struct world *w)
{
    struct pollfd fd = { .fd = record_lookup_fd(w->lookup), .events = POLLIN };

    assert_int_equal(poll(&fd, 1, DEADLINE_MS), 1);
}

static void records_are_found_in_any_order(void **state)
{
    struct world w;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    produce(&w, "second");
    produce(&w, "third");
    assert_found(&w, 1, "second");
    assert_found(&w, 2, "third");
    assert_found(&w, 0, "first");
    record_lookup_rest(w.lookup);
    assert_found(&w, 2, "third");
    world_stop(&w);
}

/* The end is told once, and may have been told before the record was written. */
static void an_end_that_was_told_before_the_record_came_is_no_loss(void **state)
{
    struct world w;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    assert_found(&w, 0, "first");
    wait_for_word(&w);
    produce(&w, "second");
    assert_found(&w, 1, "second");
    world_stop(&w);
}

static void a_record_that_comes_after_the_end_was_met_is_found(void **state)
{
    struct world w;
    const struct record *record = NULL;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    assert_found(&w, 0, "first");
    record_lookup_want(w.lookup, 0, 1);
    wait_for_word(&w);
    assert_int_equal(record_lookup_poll(w.lookup, clock_ms(), &record), RECORD_LOOKUP_PENDING);
    produce(&w, "second");
    assert_int_equal(look(&w, 0, &record), RECORD_LOOKUP_FOUND);
    assert_true(record && record->offset == 1);
    world_stop(&w);
}

static void where_the_end_stays_before_it_a_record_is_gone(void **state)
{
    struct world w;
    const struct record *record = NULL;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    assert_found(&w, 0, "first");
    record_lookup_want(w.lookup, 0, 1);
    wait_for_word(&w);
    assert_int_equal(record_lookup_poll(w.lookup, clock_ms(), &record), RECORD_LOOKUP_PENDING);
    assert_int_equal(look(&w, LONG_MS, &record), RECORD_LOOKUP_GONE);

    /* That end is known: the next ones behind it are not waited for again. */
    record_lookup_want(w.lookup, 0, 1);
    assert_int_equal(look(&w, LONG_MS, &record), RECORD_LOOKUP_GONE);
    assert_found(&w, 0, "first");
    produce(&w, "second");
    assert_found(&w, 1, "second");
    world_stop(&w);
}

static void what_came_while_nothing_was_wanted_is_read_again(void **state)
{
    struct world w;
    const struct record *record = NULL;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    assert_found(&w, 0, "first");
    produce(&w, "second");
    produce(&w, "third");
    wait_for_word(&w);
    assert_int_equal(record_lookup_poll(w.lookup, clock_ms(), &record), RECORD_LOOKUP_PENDING);
    assert_found(&w, 1, "second");
    world_stop(&w);
}

static void a_record_far_behind_the_end_is_gone(void **state)
{
    struct world w;
    const struct record *record = NULL;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    record_lookup_want(w.lookup, 0, 5000);
    assert_int_equal(look(&w, LONG_MS, &record), RECORD_LOOKUP_GONE);
    assert_found(&w, 0, "first");
    world_stop(&w);
}

/* What it comes to until then, seconds passing in a moment; when that was. */
static enum record_lookup_result look_ahead(struct world *w, int64_t *ahead_ms, int64_t max_ms)
{
    enum { STEP_MS = 1000 };
    enum record_lookup_result result = RECORD_LOOKUP_PENDING;
    const struct record *record = NULL;

    for (; *ahead_ms <= max_ms; *ahead_ms += STEP_MS) {
        struct pollfd fd = { .fd = record_lookup_fd(w->lookup), .events = POLLIN };

        (void)poll(&fd, 1, 10);
        result = record_lookup_poll(w->lookup, clock_ms() + *ahead_ms, &record);
        if (result != RECORD_LOOKUP_PENDING)
            break;
    }
    return result;
}

/* The topic was created again with fewer of them. librdkafka says nothing of it. */
static void a_record_of_a_partition_that_is_no_more_is_gone_after_half_a_minute(void **state)
{
    struct world w;
    int64_t ahead_ms = 0;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    assert_found(&w, 0, "first");
    record_lookup_want(w.lookup, PARTITIONS, 0);
    assert_int_equal(look_ahead(&w, &ahead_ms, MINUTE_MS), RECORD_LOOKUP_GONE);
    assert_in_range(ahead_ms, 29 * 1000, 50 * 1000);

    /* That is known now: the next one is not waited for. */
    int64_t known_ms = ahead_ms;
    record_lookup_want(w.lookup, PARTITIONS, 1);
    assert_int_equal(look_ahead(&w, &ahead_ms, MINUTE_MS), RECORD_LOOKUP_GONE);
    assert_int_equal(ahead_ms, known_ms);
    assert_found(&w, 0, "first");
    world_stop(&w);
}

static void a_record_whose_partition_has_no_leader_is_waited_for(void **state)
{
    struct world w;
    const struct record *record = NULL;
    int64_t ahead_ms = 0;

    world_start(&w);
    (void)state;
    produce(&w, "first");
    rd_kafka_mock_partition_set_leader(w.mock.cluster, topic, 0, -1);
    record_lookup_want(w.lookup, 0, 0);
    assert_int_equal(look_ahead(&w, &ahead_ms, LONG_MS / 10), RECORD_LOOKUP_PENDING);
    rd_kafka_mock_partition_set_leader(w.mock.cluster, topic, 0, 1);
    assert_int_equal(look(&w, 0, &record), RECORD_LOOKUP_FOUND);
    assert_true(record && record->offset == 0);
    world_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_found_in_any_order),
        cmocka_unit_test(an_end_that_was_told_before_the_record_came_is_no_loss),
        cmocka_unit_test(a_record_that_comes_after_the_end_was_met_is_found),
        cmocka_unit_test(where_the_end_stays_before_it_a_record_is_gone),
        cmocka_unit_test(what_came_while_nothing_was_wanted_is_read_again),
        cmocka_unit_test(a_record_far_behind_the_end_is_gone),
        cmocka_unit_test(a_record_of_a_partition_that_is_no_more_is_gone_after_half_a_minute),
        cmocka_unit_test(a_record_whose_partition_has_no_leader_is_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
