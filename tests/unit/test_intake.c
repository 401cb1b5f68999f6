#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "worker/ingest/intake.h"

enum { DEADLINE_MS = 10000, REQUESTS_MAX = 4096 };

/*
 * A database in memory. Offsets tell it what to do: so a test says all it
 * wants by the events it sends.
 */
enum {
    IGNORED_FROM = 1000, /* no export concerned */
    POISON = 5000,       /* refused, with all that come with it */
};

struct database {
    pthread_mutex_t lock; /* tests and the intake thread share it */
    int away;             /* so many calls fail as if it were not reachable */
    bool ended;           /* every open request has ended */
    bool failed;          /* and it failed */
    int accepts, marks, connects, calls_without_connection;
    size_t largest_batch;
    bool connected;
};

static struct database database;
static struct service_metrics metrics;

static bool is_away(struct error *err)
{
    if (!database.connected)
        database.calls_without_connection++;
    if (database.away <= 0)
        return false;
    database.away--;
    (void)error_set(err, ERROR_RETRY, "away");
    return true;
}

static bool fake_connect(void *world, struct error *err)
{
    (void)world;
    (void)pthread_mutex_lock(&database.lock);
    database.connects++;
    database.connected = true;
    bool ok = !is_away(err);
    database.connected = ok;
    (void)pthread_mutex_unlock(&database.lock);
    return ok;
}

static void fake_disconnect(void *world)
{
    (void)world;
    (void)pthread_mutex_lock(&database.lock);
    database.connected = false;
    (void)pthread_mutex_unlock(&database.lock);
}

static bool answer_one(const struct event_row *in, struct event_row_result *out)
{
    if (in->offset == POISON)
        return false;
    *out = (struct event_row_result){ .request_id = in->offset + 1, .state = EVENT_ROW_OPEN };
    if (in->reason)
        out->state = EVENT_ROW_DEAD_LETTER_DUE;
    else if (in->offset >= IGNORED_FROM)
        *out = (struct event_row_result){ .state = EVENT_ROW_IGNORED };
    return true;
}

static bool fake_accept(void *world, const struct event_row *in, size_t n,
                        struct event_row_result *out, struct error *err)
{
    (void)world;
    (void)pthread_mutex_lock(&database.lock);
    bool ok = !is_away(err);
    database.accepts++;
    if (n > database.largest_batch)
        database.largest_batch = n;
    for (size_t i = 0; ok && i < n; i++)
        ok = answer_one(&in[i], &out[i]) || error_set(err, ERROR_INPUT, "refused");
    (void)pthread_mutex_unlock(&database.lock);
    return ok;
}

static void end_one(struct event_row_end *end, int64_t id)
{
    *end = (struct event_row_end){ .request_id = id, .state = EVENT_ROW_DONE };
    if (!database.failed)
        return;
    end->state = EVENT_ROW_DEAD_LETTER_DUE;
    end->reason = strdup("list_gone");
    end->detail = strdup("the list is gone");
    end->exports = strdup("a");
    end->run_id = 17;
}

static bool fake_ended(void *world, const int64_t *ids, size_t n, struct event_row_end **ends,
                       size_t *n_ends, struct error *err)
{
    (void)world;
    (void)pthread_mutex_lock(&database.lock);
    bool ok = !is_away(err);
    if (ok) {
        *ends = calloc(n + 1, sizeof **ends);
        assert_non_null(*ends);
        *n_ends = database.ended ? n : 0;
        for (size_t i = 0; i < *n_ends; i++)
            end_one(&(*ends)[i], ids[n - 1 - i]); /* in no useful order */
    }
    (void)pthread_mutex_unlock(&database.lock);
    return ok;
}

static bool fake_mark(void *world, const int64_t *ids, size_t n, struct error *err)
{
    (void)world;
    (void)ids;
    (void)pthread_mutex_lock(&database.lock);
    bool ok = !is_away(err);
    database.marks += ok ? (int)n : 0;
    (void)pthread_mutex_unlock(&database.lock);
    return ok;
}

static int fake_socket(void *world)
{
    (void)world;
    return -1;
}

static bool fake_notified(void *world)
{
    (void)world;
    return true;
}

static const struct intake_ports ports = {
    .connect = fake_connect,
    .disconnect = fake_disconnect,
    .accept = fake_accept,
    .ended = fake_ended,
    .mark = fake_mark,
    .socket = fake_socket,
    .notified = fake_notified,
};

static struct intake *start(void)
{
    struct error err = ERROR_INIT;

    database = (struct database){ .lock = PTHREAD_MUTEX_INITIALIZER };
    service_metrics_init(&metrics);
    struct intake *intake = intake_start(&ports, &metrics, &err);
    assert_non_null(intake);
    return intake;
}

static struct pending_event *event_at(int32_t partition, int64_t offset, bool valid)
{
    const struct record record = { .topic = "t", .partition = partition, .offset = offset };
    struct pending_event *event = pending_event_new(record_copy(&record), 1);

    assert_non_null(event);
    event->valid = valid;
    if (!valid) {
        event->reason = strdup("event_invalid");
        event->detail = strdup("full is neither true nor false");
    }
    return event;
}

static void submit(struct intake *intake, struct pending_event *event)
{
    struct pending_event_list list = { 0 };

    pending_event_push(&list, event);
    intake_submit(intake, &list);
    assert_null(list.first);
}

/* Waits for n events; wakes by the descriptor alone. */
static struct pending_event_list collect(struct intake *intake, size_t n)
{
    struct pending_event_list out = { 0 };
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (out.n < n) {
        struct pollfd readable = { .fd = intake_fd(intake), .events = POLLIN };
        (void)poll(&readable, 1, 1000);
        intake_collect(intake, &out);
        if (clock_ms() > until_ms)
            fail_msg("%zu of %zu events came", out.n, n);
    }
    return out;
}

static void free_all(struct pending_event_list *list)
{
    for (struct pending_event *event; (event = pending_event_pop(list));)
        pending_event_free(event);
}

static int locked(const int *value)
{
    (void)pthread_mutex_lock(&database.lock);
    int copy = *value;
    (void)pthread_mutex_unlock(&database.lock);
    return copy;
}

static void change(void (*how)(void))
{
    (void)pthread_mutex_lock(&database.lock);
    how();
    (void)pthread_mutex_unlock(&database.lock);
}

static void end_all(void)
{
    database.ended = true;
}

static void fail_all(void)
{
    database.ended = true;
    database.failed = true;
}

static void go_away(void)
{
    database.away = 3;
}

static void an_event_that_concerns_nobody_comes_back_ignored(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(0, IGNORED_FROM, true));
    struct pending_event_list out = collect(intake, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_IGNORED);
    free_all(&out);
    intake_free(intake);
}

static void many_events_share_a_commit(void **state)
{
    enum { EVENTS = 2000 };
    struct intake *intake = start();
    struct pending_event_list list = { 0 };

    (void)state;
    for (int i = 0; i < EVENTS; i++)
        pending_event_push(&list, event_at(0, IGNORED_FROM + 10000 + i, true));
    intake_submit(intake, &list);
    struct pending_event_list out = collect(intake, EVENTS);
    assert_true(locked(&database.accepts) <= 5);
    free_all(&out);
    intake_free(intake);
}

static void an_open_event_waits_for_its_end(void **state)
{
    struct intake *intake = start();
    struct pending_event_list out = { 0 };

    (void)state;
    for (int64_t i = 0; i < 10; i++)
        submit(intake, event_at(0, i, true));
    (void)poll(NULL, 0, 300); /* more than one look */
    intake_collect(intake, &out);
    assert_int_equal(out.n, 0);
    change(end_all);
    out = collect(intake, 10);
    for (const struct pending_event *event = out.first; event; event = event->next)
        assert_int_equal(event->state, PENDING_EVENT_DONE);
    free_all(&out);
    intake_free(intake);
}

static void a_failed_run_brings_its_reason(void **state)
{
    struct intake *intake = start();

    (void)state;
    change(fail_all);
    submit(intake, event_at(0, 3, true));
    struct pending_event_list out = collect(intake, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_DEAD_LETTER_DUE);
    assert_string_equal(out.first->reason, "list_gone");
    assert_string_equal(out.first->detail, "the list is gone");
    assert_string_equal(out.first->exports, "a");
    assert_int_equal(out.first->run_id, 17);
    free_all(&out);
    intake_free(intake);
}

static void an_invalid_event_is_written_down_then_buried_then_done(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(0, 3, false));
    struct pending_event_list out = collect(intake, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_DEAD_LETTER_DUE);
    assert_string_equal(out.first->reason, "event_invalid");
    assert_int_equal(out.first->request_id, 4);
    assert_int_equal(locked(&database.marks), 0);

    out.first->state = PENDING_EVENT_DEAD_LETTERED;
    intake_submit(intake, &out);
    out = collect(intake, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_DONE);
    assert_int_equal(locked(&database.marks), 1);
    free_all(&out);
    intake_free(intake);
}

static void a_database_that_is_away_is_waited_for(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(0, 1, true));
    submit(intake, event_at(0, IGNORED_FROM, true));
    struct pending_event_list out = collect(intake, 1);
    free_all(&out);
    change(go_away);
    change(end_all);
    submit(intake, event_at(0, IGNORED_FROM + 1, true));
    submit(intake, event_at(0, 2, true));
    out = collect(intake, 3);
    free_all(&out);
    assert_true(locked(&database.connects) >= 2);
    assert_int_equal(locked(&database.calls_without_connection), 0);
    assert_true(metrics.database_reached);
    intake_free(intake);
}

static void one_event_that_the_database_refuses_holds_up_no_other(void **state)
{
    enum { EVENTS = 40 };
    struct intake *intake = start();
    struct pending_event_list list = { 0 };

    (void)state;
    for (int i = 0; i < EVENTS; i++)
        pending_event_push(&list, event_at(0, i == 7 ? POISON : IGNORED_FROM + i, true));
    intake_submit(intake, &list);
    struct pending_event_list out = collect(intake, EVENTS - 1);
    for (const struct pending_event *event = out.first; event; event = event->next)
        assert_int_not_equal(event->record->offset, POISON);
    free_all(&out);
    intake_free(intake);
}

static void beside_an_event_that_the_database_refuses_others_end(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(0, 1, true));
    submit(intake, event_at(0, POISON, true));
    submit(intake, event_at(0, IGNORED_FROM, true));
    struct pending_event_list out = collect(intake, 1);
    free_all(&out);
    change(end_all);
    out = collect(intake, 1); /* nothing else came in that would have woken it */
    assert_int_equal(out.first->record->offset, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_DONE);
    free_all(&out);
    intake_free(intake);
}

static void events_of_a_partition_given_up_come_back_dropped(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(1, 1, true));
    submit(intake, event_at(2, 2, true));
    submit(intake, event_at(0, IGNORED_FROM, true)); /* behind them: they were accepted */
    struct pending_event_list out = collect(intake, 1);
    free_all(&out);
    intake_drop(intake, 1);
    submit(intake, event_at(1, 3, true)); /* of the next assignment */
    out = collect(intake, 1);
    assert_int_equal(out.n, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_DROPPED);
    assert_int_equal(out.first->record->offset, 1);
    free_all(&out);
    change(end_all);
    out = collect(intake, 2);
    assert_int_equal(out.first->record->offset, 2);
    assert_int_equal(out.last->record->offset, 3);
    free_all(&out);
    intake_free(intake);
}

static void what_is_still_there_at_the_end_is_freed(void **state)
{
    struct intake *intake = start();

    (void)state;
    for (int64_t i = 0; i < 20; i++)
        submit(intake, event_at(0, i, i % 3 > 0));
    intake_free(intake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_that_concerns_nobody_comes_back_ignored),
        cmocka_unit_test(many_events_share_a_commit),
        cmocka_unit_test(an_open_event_waits_for_its_end),
        cmocka_unit_test(a_failed_run_brings_its_reason),
        cmocka_unit_test(an_invalid_event_is_written_down_then_buried_then_done),
        cmocka_unit_test(a_database_that_is_away_is_waited_for),
        cmocka_unit_test(one_event_that_the_database_refuses_holds_up_no_other),
        cmocka_unit_test(beside_an_event_that_the_database_refuses_others_end),
        cmocka_unit_test(events_of_a_partition_given_up_come_back_dropped),
        cmocka_unit_test(what_is_still_there_at_the_end_is_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
