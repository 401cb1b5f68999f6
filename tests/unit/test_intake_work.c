#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "tests/unit/diary.h"
#include "worker/ingest/intake_work.h"

/* What intake does when: on a clock that stands until the test moves it, without a thread. */
enum {
    START_MS = 1000000,
    AWAY_FOR_MS = 100, /* the shortest pause after a failure; the fake of randomness chooses it */
    POISON = 5000,     /* its data are refused, with all that come with it */
    LOCKED = 4000,     /* somebody holds a lock that this one needs */
    UNMARKED = 4001,   /* the same, but its row is found and read all the same */
    UNMARKABLE = 5001, /* its row cannot be marked */
    REWRITTEN = 6000,  /* its row was lost, and its number is another one's now */
};

static struct {
    int64_t now_ms;
    bool away;      /* the next call that is not a connect fails as if it were not reachable */
    bool is_closed; /* the connection, by the server */
    bool unlocked;  /* nobody holds a lock any more */
    bool set_back;  /* to a copy from before REWRITTEN was accepted */
    bool due;       /* a dead letter is due of all that wait */
    int asked;      /* how often for the holder of a lock */
} database;

int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_ms(void)
{
    return database.now_ms;
}

uint32_t __wrap_randombytes_random(void);
uint32_t __wrap_randombytes_random(void)
{
    return 0;
}

static bool is_away(struct error *err)
{
    bool away = database.away;

    database.away = false;
    if (away)
        (void)error_set(err, ERROR_RETRY, "away");
    return away;
}

static bool fake_connect(void *world UNUSED, struct error *err UNUSED)
{
    diary_note("connect");
    return true;
}

static void fake_disconnect(void *world UNUSED)
{
    diary_note("disconnect");
}

static enum events_accepted answer_one(const struct event_row *in, struct event_row_result *out)
{
    if (in->offset == POISON && !in->reason)
        return EVENTS_REFUSED;
    *out = (struct event_row_result){ .request_id = in->offset + 1, .state = EVENT_ROW_OPEN };
    if (database.set_back)
        *out = (struct event_row_result){ REWRITTEN + 1, EVENT_ROW_DEAD_LETTER_DUE };
    if (in->reason)
        out->state = EVENT_ROW_DEAD_LETTER_DUE;
    if (in->offset == LOCKED)
        *out = (struct event_row_result){ .state = EVENT_ROW_BLOCKED };
    return EVENTS_ACCEPTED;
}

static enum events_accepted fake_accept(void *world UNUSED, const struct event_row *in, size_t n,
                                        bool one_by_one, struct event_row_result *out,
                                        struct error *err)
{
    if (is_away(err))
        return EVENTS_FAILED;
    if (in[0].offset == LOCKED && !one_by_one)
        return EVENTS_BLOCKED;
    diary_note(one_by_one ? "accept-singly:%d" : "accept:%d", (int)n);
    for (size_t i = 0; i < n; i++)
        if (answer_one(&in[i], &out[i]) == EVENTS_REFUSED) {
            (void)error_set(err, ERROR_INPUT, "refused (SQLSTATE 22000)");
            return EVENTS_REFUSED;
        }
    return EVENTS_ACCEPTED;
}

/* Once it was set back: REWRITTEN's row is missing, those that have its number now have failed. */
static void end_one(const struct event_key *key, size_t nth, struct event_row_ends *ends)
{
    struct event_row_end *end = &ends->items[ends->n];

    if (database.due) {
        *end = (struct event_row_end){ .nth = nth, .state = EVENT_ROW_DEAD_LETTER_DUE };
        end->reason = strdup("list_gone");
        ends->n++;
        return;
    }
    if (!database.set_back || key->request_id != REWRITTEN + 1)
        return;
    *end = (struct event_row_end){ .nth = nth, .state = EVENT_ROW_MISSING };
    if (key->offset != REWRITTEN) {
        end->state = EVENT_ROW_DEAD_LETTER_DUE;
        end->reason = strdup("connection_needs_attention");
    }
    ends->n++;
}

static bool fake_ended(void *world UNUSED, const struct event_key *keys, size_t n,
                       struct event_row_ends *ends, struct error *err UNUSED)
{
    diary_note("ended?%d", (int)n);
    *ends = (struct event_row_ends){ .items = calloc(n + 1, sizeof *ends->items) };
    assert_non_null(ends->items);
    for (size_t i = 0; i < n; i++)
        end_one(&keys[i], i, ends);
    return true;
}

static bool fake_mark(void *world UNUSED, const struct event_key *keys, size_t n, bool at_once,
                      bool *held, struct error *err)
{
    if (is_away(err))
        return false;
    diary_note(at_once ? "mark-at-once:%d" : "mark:%d", (int)n);
    for (size_t i = 0; i < n; i++) {
        if (keys[i].offset == UNMARKABLE)
            return error_set(err, ERROR_INPUT, "refused (SQLSTATE XX001)");
        held[i] = (keys[i].offset == LOCKED || keys[i].offset == UNMARKED) && !database.unlocked;
    }
    return true;
}

static bool fake_lock_holder(void *world UNUSED, struct lock_holder *holder,
                             struct error *err UNUSED)
{
    database.asked++;
    *holder = (struct lock_holder){ .pid = 17, .user = "somebody", .application = "psql" };
    return true;
}

static int fake_socket(void *world UNUSED)
{
    return -1;
}

static bool fake_notified(void *world UNUSED)
{
    return !database.is_closed;
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

static struct service_metrics metrics;
static struct intake_work work;

static const char good[] =
    "{\"segment_id\":\"s\",\"refresh_id\":\"r\",\"refreshed_at\":\"2026-11-24T08:00:47Z\"}";

static void add_event(int64_t offset, const char *value, int64_t epoch,
                      enum pending_event_state state)
{
    const struct record record = {
        .topic = "t", .offset = offset, .value = value, .value_bytes = strlen(value)
    };
    struct pending_event_list list = { 0 };
    struct pending_event *event = NULL;
    struct error why = ERROR_INIT;

    assert_int_equal(pending_event_new(&record, epoch, &event, &why),
                     value == good ? EVENT_VALID : EVENT_INVALID);
    event->state = state;
    pending_event_push(&list, event);
    intake_work_add(&work, &list);
}

static void add(int64_t offset)
{
    add_event(offset, good, 1, PENDING_EVENT_NEW);
}

/* Its dead letter is acknowledged. */
static void add_letter(int64_t offset)
{
    add_event(offset, good, 1, PENDING_EVENT_DEAD_LETTERED);
}

/* Its partition was assigned again. */
static void add_again(int64_t offset, const char *value)
{
    add_event(offset, value, 2, PENDING_EVENT_NEW);
}

static void begin(void)
{
    diary_begin(NULL);
    memset(&database, 0, sizeof database);
    database.now_ms = START_MS;
    service_metrics_init(&metrics);
    intake_work_init(&work, &ports, &metrics);
}

static void turn(void)
{
    diary_begin(NULL);
    intake_work_turn(&work);
}

/* One event waits for its end, and was just asked for. */
static void begin_with_one_that_waits(void)
{
    begin();
    add(1);
    turn();
    assert_string_equal(diary.text, "connect accept:1 ended?1");
}

static void who_waits_is_asked_for_now_and_then_and_soon_after_a_notification(void **state)
{
    (void)state;
    begin_with_one_that_waits();
    assert_int_equal(intake_work_wait_ms(&work), 200);
    database.now_ms += 199;
    turn();
    assert_string_equal(diary.text, "");
    database.now_ms += 1;
    turn();
    assert_string_equal(diary.text, "ended?1");
    intake_work_notified(&work);
    assert_int_equal(intake_work_wait_ms(&work), 20);
    intake_work_release(&work);
}

static void after_a_failure_it_asks_at_once_for_what_may_have_been_told_meanwhile(void **state)
{
    (void)state;
    begin_with_one_that_waits();
    add(2);
    database.away = true;
    turn();
    assert_string_equal(diary.text, "disconnect");
    assert_int_equal(intake_work_wait_ms(&work), AWAY_FOR_MS);
    database.now_ms += AWAY_FOR_MS;
    turn();
    assert_string_equal(diary.text, "connect accept:1 ended?2");
    intake_work_release(&work);
}

static void a_connection_that_the_server_closed_is_made_anew_at_once(void **state)
{
    (void)state;
    begin_with_one_that_waits();
    database.is_closed = true;
    intake_work_notified(&work);
    assert_int_equal(intake_work_wait_ms(&work), 0);
    turn();
    assert_string_equal(diary.text, "connect");
    intake_work_release(&work);
}

static void the_batch_grows_again_once_the_refused_event_is_found(void **state)
{
    (void)state;
    begin();
    add(POISON);
    for (int64_t i = 1; i < 8; i++)
        add(i);
    diary_begin(NULL);
    for (int i = 0; i < 8; i++)
        intake_work_turn(&work);
    assert_string_equal(diary.text, "connect accept:8 accept:4 accept:2 accept:1 "
                                    "accept:1 accept:2 ended?2 accept:4 accept:1");
    intake_work_release(&work);
}

static void what_a_lock_holds_up_comes_back_later_and_later_up_to_five_seconds(void **state)
{
    static const int64_t pauses[] = { 500, 1000, 2000, 4000, 5000, 5000 };

    (void)state;
    begin();
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        add(LOCKED);
        turn();
        struct pending_event *event = pending_event_pop(&work.out);
        assert_non_null(event);
        assert_int_equal(event->state, PENDING_EVENT_UNREAD);
        assert_int_equal(event->not_before_ms - database.now_ms, pauses[i]);
        database.now_ms = event->not_before_ms;
        pending_event_free(event);
    }
    intake_work_release(&work);
}

static void a_letter_is_marked_before_its_offset_is_released(void **state)
{
    (void)state;
    begin();
    add(POISON);
    turn(); /* it dies, and its row says so with the next turn */
    turn();
    struct pending_event_list letters = { 0 };
    pending_event_append(&letters, &work.out);
    assert_int_equal(letters.n, 1);
    letters.first->state = PENDING_EVENT_DEAD_LETTERED;
    intake_work_add(&work, &letters);
    database.away = true;
    turn();
    assert_null(work.out.first);
    database.now_ms += AWAY_FOR_MS;
    turn();
    assert_string_equal(diary.text, "connect mark:1");
    assert_int_equal(work.out.n, 1);
    intake_work_release(&work);
}

static void assert_came_out(int64_t offset, enum pending_event_state state)
{
    struct pending_event *event = pending_event_pop(&work.out);

    assert_non_null(event);
    assert_int_equal(event->offset, offset);
    assert_int_equal(event->state, state);
    pending_event_free(event);
}

static void a_lock_on_the_row_of_a_letter_holds_up_nothing_else(void **state)
{
    (void)state;
    begin_with_one_that_waits();
    add_letter(LOCKED);
    add_letter(2);
    add(3);
    database.now_ms += 200;
    turn();
    assert_string_equal(diary.text, "mark:2 accept:1 ended?2");
    assert_came_out(2, PENDING_EVENT_DONE);
    assert_null(work.out.first);
    assert_int_equal(metrics.events_blocked, 1);
    assert_true(metrics.database_reached);
    intake_work_release(&work);
}

static void a_letter_that_a_lock_holds_up_is_marked_once_the_lock_is_gone(void **state)
{
    (void)state;
    begin();
    add_letter(LOCKED);
    turn();
    assert_string_equal(diary.text, "connect mark:1");
    assert_int_equal(intake_work_wait_ms(&work), 500);
    database.now_ms += 499;
    turn();
    assert_string_equal(diary.text, "");
    database.now_ms += 1;
    turn();
    assert_string_equal(diary.text, "mark-at-once:1");
    assert_int_equal(intake_work_wait_ms(&work), 1000);
    assert_null(work.out.first);
    database.unlocked = true;
    database.now_ms += 1000;
    turn();
    assert_came_out(LOCKED, PENDING_EVENT_DONE);
    intake_work_release(&work);
}

static void a_letter_that_the_database_refuses_to_mark_holds_up_no_other_for_long(void **state)
{
    enum { ROUNDS = 5 };

    (void)state;
    begin();
    for (int64_t i = 1; i < 4; i++)
        add_letter(i);
    add_letter(UNMARKABLE);
    add(7);
    turn();
    assert_string_equal(diary.text, "connect mark:4 accept:1 ended?1");
    for (int i = 0; i < ROUNDS; i++) {
        database.now_ms += 1000;
        turn();
        turn();
    }
    for (int64_t i = 1; i < 4; i++)
        assert_came_out(i, PENDING_EVENT_DONE);
    assert_null(work.out.first);
    assert_true(metrics.database_reached);
    intake_work_release(&work);
}

/* Whose letter is acknowledged and not marked: it gets no other one, and no offset moves. */
static void assert_not_written_again(int64_t offset, const char *value)
{
    add_again(offset, value);
    database.now_ms += 200;
    turn();
    assert_came_out(offset, PENDING_EVENT_TWIN);
    assert_null(work.out.first);
}

static void assert_released_in_epoch(int64_t epoch)
{
    assert_non_null(work.out.first);
    assert_int_equal(work.out.first->epoch, epoch);
    assert_came_out(work.out.first->offset, PENDING_EVENT_DONE);
}

static void a_letter_that_a_lock_keeps_unmarked_is_not_written_again(void **state)
{
    static const char *const values[] = { good, "{" };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        begin();
        add_letter(UNMARKED);
        turn();
        database.due = true;
        assert_not_written_again(UNMARKED, values[i]);
        database.unlocked = true;
        database.now_ms += 300;
        turn();
        assert_released_in_epoch(2);
        intake_work_release(&work);
    }
}

static void a_letter_that_waits_to_be_marked_is_not_written_again(void **state)
{
    (void)state;
    begin();
    for (int64_t i = 0; i < INTAKE_BATCH_MAX; i++)
        add_letter(i);
    add_letter(INTAKE_BATCH_MAX);
    database.due = true;
    add_again(INTAKE_BATCH_MAX, good);
    turn();
    for (int64_t i = 0; i < INTAKE_BATCH_MAX; i++)
        assert_came_out(i, PENDING_EVENT_DONE);
    assert_came_out(INTAKE_BATCH_MAX, PENDING_EVENT_TWIN);
    turn();
    assert_released_in_epoch(2);
    intake_work_release(&work);
}

static void a_lock_on_the_row_of_a_letter_slows_down_no_event(void **state)
{
    (void)state;
    begin();
    add_letter(UNMARKED);
    turn();
    for (int64_t i = 0; i < 4; i++) {
        add(i);
        database.now_ms += intake_work_wait_ms(&work);
        turn();
        assert_null(strstr(diary.text, "singly"));
    }
    assert_int_equal(database.asked, 1); /* within half a minute */
    add(LOCKED);
    turn();
    assert_int_equal(work.out.first->not_before_ms - database.now_ms, 500);
    assert_came_out(LOCKED, PENDING_EVENT_UNREAD);
    intake_work_release(&work);
}

/* A lock has held it up for long: it is left alone for seconds. */
static void begin_with_a_letter_left_alone(void)
{
    begin();
    add_letter(UNMARKED);
    turn();
    for (int i = 0; i < 3; i++) {
        database.now_ms += work.unmarked.first->not_before_ms - database.now_ms;
        turn();
    }
    assert_in_range(work.unmarked.first->not_before_ms - database.now_ms, 4000, 5000);
}

static void before_the_partition_goes_its_letters_are_marked_if_they_can_be(void **state)
{
    (void)state;
    begin_with_a_letter_left_alone();
    database.unlocked = true;
    intake_work_drop(&work, 0);
    assert_int_equal(intake_work_wait_ms(&work), 0);
    turn();
    assert_came_out(UNMARKED, PENDING_EVENT_DONE);
    intake_work_release(&work);
}

static void a_worker_that_stops_tries_ten_times_a_second_to_mark_its_letters(void **state)
{
    (void)state;
    begin_with_a_letter_left_alone();
    intake_work_hurry(&work);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(intake_work_wait_ms(&work), i == 0 ? 0 : 100);
        database.now_ms += intake_work_wait_ms(&work);
        turn();
        assert_string_equal(diary.text, "mark-at-once:1");
    }
    database.unlocked = true;
    database.now_ms += 100;
    turn();
    assert_came_out(UNMARKED, PENDING_EVENT_DONE);
    assert_int_equal(work.marked_events, 1);
    intake_work_release(&work);
}

/* Nobody waits for a lock then: there may be half a second left. */
static void a_worker_that_stops_waits_for_no_lock(void **state)
{
    (void)state;
    begin();
    intake_work_hurry(&work);
    add_letter(UNMARKED);
    turn();
    assert_string_equal(diary.text, "connect mark-at-once:1");
    assert_int_equal(intake_work_wait_ms(&work), 100);
    intake_work_release(&work);
}

/* Numbers come again then: of two that wait with one number each gets its own end. */
static void after_the_database_was_set_back_no_event_takes_the_end_of_another(void **state)
{
    (void)state;
    begin();
    for (int64_t i = 1; i < 4; i++)
        add(i);
    add(REWRITTEN);
    turn();
    database.set_back = true;
    for (int64_t i = 4; i < 8; i++)
        add(i);
    database.now_ms += 200;
    turn();
    assert_string_equal(diary.text, "accept:4 ended?8");
    assert_came_out(REWRITTEN, PENDING_EVENT_UNREAD);
    for (int64_t i = 4; i < 8; i++)
        assert_came_out(i, PENDING_EVENT_DEAD_LETTER_DUE);
    assert_null(work.out.first);
    intake_work_release(&work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_waits_is_asked_for_now_and_then_and_soon_after_a_notification),
        cmocka_unit_test(after_a_failure_it_asks_at_once_for_what_may_have_been_told_meanwhile),
        cmocka_unit_test(a_connection_that_the_server_closed_is_made_anew_at_once),
        cmocka_unit_test(the_batch_grows_again_once_the_refused_event_is_found),
        cmocka_unit_test(what_a_lock_holds_up_comes_back_later_and_later_up_to_five_seconds),
        cmocka_unit_test(a_letter_is_marked_before_its_offset_is_released),
        cmocka_unit_test(a_lock_on_the_row_of_a_letter_holds_up_nothing_else),
        cmocka_unit_test(a_letter_that_a_lock_holds_up_is_marked_once_the_lock_is_gone),
        cmocka_unit_test(a_letter_that_the_database_refuses_to_mark_holds_up_no_other_for_long),
        cmocka_unit_test(a_letter_that_a_lock_keeps_unmarked_is_not_written_again),
        cmocka_unit_test(a_letter_that_waits_to_be_marked_is_not_written_again),
        cmocka_unit_test(a_lock_on_the_row_of_a_letter_slows_down_no_event),
        cmocka_unit_test(before_the_partition_goes_its_letters_are_marked_if_they_can_be),
        cmocka_unit_test(a_worker_that_stops_tries_ten_times_a_second_to_mark_its_letters),
        cmocka_unit_test(a_worker_that_stops_waits_for_no_lock),
        cmocka_unit_test(after_the_database_was_set_back_no_event_takes_the_end_of_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
