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
    LOCKED = 4000,       /* somebody holds a lock that this one needs */
    POISON = 5000,       /* its data are refused, with all that come with it */
    HATED = 5001,        /* refused, but not for its data */
};

struct database {
    pthread_mutex_t lock; /* tests and the intake thread share it */
    int away;             /* so many calls fail as if it were not reachable */
    bool ended;           /* every open request has ended */
    bool failed;          /* and it failed */
    bool lost;            /* every row is gone */
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

static enum events_accepted answer_one(const struct event_row *in, bool one_by_one,
                                       struct event_row_result *out)
{
    if (in->offset == POISON && !in->reason)
        return EVENTS_REFUSED;
    if (in->offset == HATED)
        return EVENTS_FAILED;
    if (in->offset == LOCKED && !one_by_one)
        return EVENTS_BLOCKED;
    *out = (struct event_row_result){ .request_id = in->offset + 1, .state = EVENT_ROW_OPEN };
    if (in->reason)
        out->state = EVENT_ROW_DEAD_LETTER_DUE;
    else if (in->offset == LOCKED)
        *out = (struct event_row_result){ .state = EVENT_ROW_BLOCKED };
    else if (in->offset >= IGNORED_FROM)
        *out = (struct event_row_result){ .state = EVENT_ROW_IGNORED };
    return EVENTS_ACCEPTED;
}

static enum events_accepted fake_accept(void *opaque, const struct event_row *in, size_t n,
                                        bool one_by_one, struct event_row_result *out,
                                        struct error *err)
{
    enum events_accepted accepted = EVENTS_ACCEPTED;

    (void)opaque;
    (void)pthread_mutex_lock(&database.lock);
    if (is_away(err))
        accepted = EVENTS_FAILED;
    database.accepts++;
    if (n > database.largest_batch)
        database.largest_batch = n;
    for (size_t i = 0; accepted == EVENTS_ACCEPTED && i < n; i++) {
        accepted = answer_one(&in[i], one_by_one, &out[i]);
        if (accepted != EVENTS_ACCEPTED)
            (void)error_set(err, ERROR_INPUT, "refused (SQLSTATE 22000)");
    }
    (void)pthread_mutex_unlock(&database.lock);
    return accepted;
}

static bool fake_lock_holder(void *opaque, struct lock_holder *holder, struct error *err)
{
    (void)opaque;
    (void)err;
    *holder = (struct lock_holder){ .pid = 17, .user = "somebody", .application = "psql" };
    return true;
}

static void end_one(struct event_row_end *end, size_t nth)
{
    *end = (struct event_row_end){ .nth = nth, .state = EVENT_ROW_DONE };
    if (database.lost)
        end->state = EVENT_ROW_MISSING;
    if (!database.failed)
        return;
    end->state = EVENT_ROW_DEAD_LETTER_DUE;
    end->reason = strdup("list_gone");
    end->detail = strdup("the list is gone");
    end->exports = strdup("a");
    end->run_id = 17;
}

static bool fake_ended(void *world, const struct event_key *keys, size_t n,
                       struct event_row_ends *ends, struct error *err)
{
    (void)world;
    (void)keys;
    (void)pthread_mutex_lock(&database.lock);
    bool ok = !is_away(err);
    if (ok) {
        ends->items = calloc(n + 1, sizeof *ends->items);
        assert_non_null(ends->items);
        ends->n = database.ended || database.lost ? n : 0;
        for (size_t i = 0; i < ends->n; i++)
            end_one(&ends->items[i], i);
    }
    (void)pthread_mutex_unlock(&database.lock);
    return ok;
}

static bool fake_mark(void *opaque, const struct event_key *keys, size_t n, bool at_once,
                      bool *held, struct error *err)
{
    (void)opaque;
    (void)keys;
    (void)at_once;
    memset(held, 0, n * sizeof *held);
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
    .lock_holder = fake_lock_holder,
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
    static const char good[] =
        "{\"segment_id\":\"s\",\"refresh_id\":\"r\",\"refreshed_at\":\"2026-11-24T08:00:47Z\"}";
    const char *value = valid ? good : "{";
    const struct record record = { .topic = "t",
                                   .partition = partition,
                                   .offset = offset,
                                   .value = value,
                                   .value_bytes = strlen(value) };
    struct pending_event *event = NULL;
    struct error why = ERROR_INIT;

    assert_int_equal(pending_event_new(&record, 1, &event, &why),
                     valid ? EVENT_VALID : EVENT_INVALID);
    return event;
}

static void submit(struct intake *intake, struct pending_event *event)
{
    struct pending_event_list list = { 0 };

    pending_event_push(&list, event);
    intake_submit(intake, &list);
    assert_null(list.first);
}

static size_t released; /* records that intake gave away */

/* Waits for n events; wakes by the descriptor alone. */
static struct pending_event_list collect(struct intake *intake, size_t n)
{
    struct pending_event_list out = { 0 };
    int64_t until_ms = clock_ms() + DEADLINE_MS;

    while (out.n < n) {
        struct pollfd readable = { .fd = intake_fd(intake), .events = POLLIN };
        (void)poll(&readable, 1, 1000);
        struct intake_output came = intake_collect(intake);
        pending_event_append(&out, &came.events);
        released += came.released_events;
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

static void lose_all(void)
{
    database.lost = true;
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

    (void)state;
    released = 0;
    for (int64_t i = 0; i < 10; i++)
        submit(intake, event_at(0, i, true));
    (void)poll(NULL, 0, 300); /* more than one poll */
    struct intake_output early = intake_collect(intake);
    assert_int_equal(early.events.n, 0);
    change(end_all);
    struct pending_event_list out = collect(intake, 10);
    assert_int_equal(early.released_events + released, 10); /* it is an offset while it waits */
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
    assert_string_equal(out.first->death->reason, "list_gone");
    assert_string_equal(out.first->death->detail, "the list is gone");
    assert_string_equal(out.first->death->exports, "a");
    assert_int_equal(out.first->death->run_id, 17);
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
    assert_string_equal(out.first->death->reason, "event_invalid");
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
        pending_event_push(&list, event_at(0, i == 7 ? HATED : IGNORED_FROM + i, true));
    intake_submit(intake, &list);
    struct pending_event_list out = collect(intake, EVENTS - 1);
    for (const struct pending_event *event = out.first; event; event = event->next)
        assert_int_not_equal(event->offset, HATED);
    free_all(&out);
    intake_free(intake);
}

static void beside_an_event_that_the_database_refuses_others_end(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(0, 1, true));
    submit(intake, event_at(0, HATED, true));
    submit(intake, event_at(0, IGNORED_FROM, true));
    struct pending_event_list out = collect(intake, 1);
    free_all(&out);
    change(end_all);
    out = collect(intake, 1); /* nothing else came in that would have woken it */
    assert_int_equal(out.first->offset, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_DONE);
    free_all(&out);
    intake_free(intake);
}

static void an_event_whose_data_are_refused_dies_alone(void **state)
{
    enum { EVENTS = 40 };
    struct intake *intake = start();
    struct pending_event_list list = { 0 };
    size_t dead = 0;

    (void)state;
    for (int i = 0; i < EVENTS; i++)
        pending_event_push(&list, event_at(0, i == 7 ? POISON : IGNORED_FROM + i, true));
    intake_submit(intake, &list);
    struct pending_event_list out = collect(intake, EVENTS);
    for (const struct pending_event *event = out.first; event; event = event->next) {
        assert_int_equal(event->offset == POISON, event->state == PENDING_EVENT_DEAD_LETTER_DUE);
        if (event->offset != POISON)
            continue;
        dead++;
        assert_string_equal(event->death->reason, "event_invalid");
        assert_string_equal(event->death->detail, "refused (SQLSTATE 22000)");
        assert_int_equal(event->request_id, POISON + 1);
    }
    assert_int_equal(dead, 1);
    free_all(&out);
    intake_free(intake);
}

/* It comes out without its record, to be read again; nobody waits for the lock meanwhile. */
static void an_event_that_a_lock_holds_up_lets_others_pass(void **state)
{
    struct intake *intake = start();
    struct pending_event_list list = { 0 };

    (void)state;
    pending_event_push(&list, event_at(0, IGNORED_FROM, true));
    pending_event_push(&list, event_at(0, LOCKED, true));
    pending_event_push(&list, event_at(0, IGNORED_FROM + 1, true));
    intake_submit(intake, &list);
    struct pending_event_list out = collect(intake, 3);
    for (const struct pending_event *event = out.first; event; event = event->next) {
        bool locked_up = event->offset == LOCKED;
        assert_int_equal(event->state, locked_up ? PENDING_EVENT_UNREAD : PENDING_EVENT_IGNORED);
        assert_int_equal(event->body == NULL, locked_up);
        if (locked_up)
            assert_true(event->not_before_ms > clock_ms());
    }
    assert_int_equal(metrics.events_blocked, 1);
    assert_int_equal(metrics.database_errors, 0);
    assert_int_equal(locked(&database.accepts), 2);
    free_all(&out);
    intake_free(intake);
}

static void an_event_whose_row_is_gone_is_read_again(void **state)
{
    struct intake *intake = start();

    (void)state;
    submit(intake, event_at(0, 3, true));
    change(lose_all);
    struct pending_event_list out = collect(intake, 1);
    assert_int_equal(out.first->state, PENDING_EVENT_UNREAD);
    assert_int_equal(out.first->request_id, 0);
    assert_true(out.first->not_before_ms <= clock_ms());
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
    assert_int_equal(out.first->offset, 1);
    free_all(&out);
    change(end_all);
    out = collect(intake, 2);
    assert_int_equal(out.first->offset, 2);
    assert_int_equal(out.last->offset, 3);
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
        cmocka_unit_test(an_event_whose_data_are_refused_dies_alone),
        cmocka_unit_test(an_event_that_a_lock_holds_up_lets_others_pass),
        cmocka_unit_test(an_event_whose_row_is_gone_is_read_again),
        cmocka_unit_test(events_of_a_partition_given_up_come_back_dropped),
        cmocka_unit_test(what_is_still_there_at_the_end_is_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
