#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/log.h"
#include "worker/ingest/dead_letter_writer.h"
#include "worker/kafka/producer.h"

/* Who writes a letter when its partition goes: on a clock of the test's own, without Kafka. */
enum { START_MS = 1000000, LATER_MS = 60 * 1000, TAGS_MAX = 8, EPOCH = 3 };

static struct {
    int64_t now_ms;
    bool answers, fails; /* the broker: is there, and refuses what it gets */
    void *tags[TAGS_MAX];
    size_t n;
    int renewals;
} world;

int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_ms(void)
{
    return world.now_ms;
}

void __wrap_log_write(enum log_level level, const char *event, const struct log_field fields[]);
void __wrap_log_write(enum log_level level UNUSED, const char *event UNUSED,
                      const struct log_field fields[] UNUSED)
{
}

struct producer *__wrap_producer_new(const struct settings *settings, struct error *err);
struct producer *__wrap_producer_new(const struct settings *settings UNUSED,
                                     struct error *err UNUSED)
{
    static int stands_for_it;

    return (struct producer *)(void *)&stands_for_it;
}

void __wrap_producer_free(struct producer *producer UNUSED);
void __wrap_producer_free(struct producer *producer UNUSED)
{
}

int __wrap_producer_fd(const struct producer *producer);
int __wrap_producer_fd(const struct producer *producer UNUSED)
{
    return -1;
}

bool __wrap_producer_produce(struct producer *producer, const char *topic,
                             const struct record *record, void *tag, struct error *err);
bool __wrap_producer_produce(struct producer *producer UNUSED, const char *topic UNUSED,
                             const struct record *record UNUSED, void *tag,
                             struct error *err UNUSED)
{
    assert_true(world.n < TAGS_MAX);
    world.tags[world.n++] = tag;
    return true;
}

bool __wrap_producer_next(struct producer *producer, struct producer_report *report);
bool __wrap_producer_next(struct producer *producer UNUSED, struct producer_report *report)
{
    if (!world.answers || world.n == 0)
        return false;
    *report =
        (struct producer_report){ .tag = world.tags[--world.n],
                                  .outcome = world.fails ? PRODUCER_FAILED : PRODUCER_DELIVERED };
    return true;
}

void __wrap_producer_renew(struct producer *producer);
void __wrap_producer_renew(struct producer *producer UNUSED)
{
    world.renewals++;
}

static const struct settings settings = { .kafka_topic = "events",
                                          .kafka_dead_letter_topic = "dead" };
static struct service_metrics metrics;
static struct dead_letter_writer *writer;
static struct pending_event_list out;

static void begin(void)
{
    struct error err = ERROR_INIT;

    memset(&world, 0, sizeof world);
    world.now_ms = START_MS;
    service_metrics_init(&metrics);
    writer = dead_letter_writer_new(&settings, &metrics, &err);
    assert_non_null(writer);
}

static void end(void)
{
    dead_letter_writer_free(writer);
    pending_event_list_clear(&out);
    service_metrics_release(&metrics);
}

static struct pending_event *letter(int32_t partition, int64_t epoch)
{
    const struct record record = {
        .topic = "events", .partition = partition, .value = "{", .value_bytes = 1
    };
    struct pending_event *event = NULL;
    struct error why = ERROR_INIT;

    assert_int_equal(pending_event_new(&record, epoch, &event, &why), EVENT_INVALID);
    event->state = PENDING_EVENT_DEAD_LETTER_DUE;
    return event;
}

static void add(int32_t partition)
{
    dead_letter_writer_add(writer, letter(partition, EPOCH));
}

/* Its record was looked for in vain. */
static void add_without_record(int32_t partition)
{
    struct pending_event *event = letter(partition, EPOCH);

    (void)pending_event_drop_body(event);
    dead_letter_writer_add(writer, event);
}

static void turn(void)
{
    dead_letter_writer_turn(writer, &out);
}

static void out_are(size_t n, enum pending_event_state state)
{
    assert_int_equal(out.n, n);
    for (const struct pending_event *event = out.first; event; event = event->next)
        assert_int_equal(event->state, state);
    pending_event_list_clear(&out);
}

static void letters_go_with_the_epoch_of_their_partition(void **state)
{
    (void)state;
    begin();
    add(1);
    add(2);
    dead_letter_writer_add(writer, letter(1, EPOCH - 1)); /* its topic may be gone */
    dead_letter_writer_drop(writer, 1, EPOCH, &out);
    out_are(1, PENDING_EVENT_DROPPED);
    world.answers = true;
    turn();
    turn();
    out_are(2, PENDING_EVENT_DEAD_LETTERED);
    end();
}

static void a_letter_without_a_record_is_written_by_who_has_it(void **state)
{
    (void)state;
    begin();
    add_without_record(1);
    dead_letter_writer_drop(writer, 1, EPOCH, &out);
    turn();
    assert_int_equal(world.n, 1);
    dead_letter_writer_drop(writer, 1, EPOCH, &out); /* in flight */
    assert_int_equal(out.n, 0);
    world.answers = world.fails = true;
    turn();
    world.fails = false;
    world.now_ms += LATER_MS;
    turn();
    turn();
    out_are(1, PENDING_EVENT_DEAD_LETTERED);
    end();
}

/* Two letters are on their way to a broker that is well; the partition of one is given up. */
static void nothing_is_called_back_of(int32_t partition, int renewals)
{
    world.answers = world.fails = false;
    add(1);
    add(2);
    turn();
    assert_int_equal(world.n, 2);
    dead_letter_writer_drop(writer, partition, EPOCH, &out);
    assert_int_equal(world.renewals, renewals);
    world.answers = true;
    turn();
    out_are(2, PENDING_EVENT_DEAD_LETTERED);
}

static void a_failure_is_forgotten_with_the_last_letter(void **state)
{
    (void)state;
    begin();
    world.answers = world.fails = true;
    add(1);
    turn();
    turn();
    dead_letter_writer_drop(writer, 1, EPOCH, &out);
    out_are(1, PENDING_EVENT_DROPPED);
    nothing_is_called_back_of(2, 0);
    end();
}

static void so_it_is_with_the_last_one_that_is_called_back(void **state)
{
    (void)state;
    begin();
    world.answers = world.fails = true;
    add(1);
    turn();
    turn();
    world.now_ms += LATER_MS;
    turn();
    dead_letter_writer_drop(writer, 1, EPOCH, &out);
    assert_int_equal(world.renewals, 1);
    turn();
    out_are(1, PENDING_EVENT_DROPPED);
    nothing_is_called_back_of(2, 1);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_go_with_the_epoch_of_their_partition),
        cmocka_unit_test(a_letter_without_a_record_is_written_by_who_has_it),
        cmocka_unit_test(a_failure_is_forgotten_with_the_last_letter),
        cmocka_unit_test(so_it_is_with_the_last_one_that_is_called_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
