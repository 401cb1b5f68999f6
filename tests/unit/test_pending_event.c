#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "worker/ingest/pending_event.h"

static void push(struct pending_event_list *list, int32_t partition, int64_t offset,
                 enum pending_event_state state)
{
    struct pending_event *event = calloc(1, sizeof *event);

    assert_non_null(event);
    event->partition = partition;
    event->offset = offset;
    event->state = state;
    pending_event_push(list, event);
}

static void next_is(struct pending_event_list *list, int64_t offset, enum pending_event_state state)
{
    struct pending_event *event = pending_event_pop(list);

    assert_non_null(event);
    assert_int_equal(event->offset, offset);
    assert_int_equal(event->state, state);
    pending_event_free(event);
}

/* A letter that is acknowledged is marked as written, whoever owns the partition. */
static void with_its_partition_goes_all_but_what_is_to_be_marked(void **state)
{
    struct pending_event_list list = { 0 }, dropped = { 0 };

    (void)state;
    push(&list, 1, 10, PENDING_EVENT_NEW);
    push(&list, 2, 20, PENDING_EVENT_NEW);
    push(&list, 1, 11, PENDING_EVENT_DEAD_LETTER_DUE);
    push(&list, 1, 12, PENDING_EVENT_UNREAD);
    push(&list, 1, 13, PENDING_EVENT_DEAD_LETTERED);
    pending_event_list_drop(&list, 1, &dropped);

    next_is(&dropped, 10, PENDING_EVENT_DROPPED);
    next_is(&dropped, 11, PENDING_EVENT_DROPPED);
    next_is(&dropped, 12, PENDING_EVENT_DROPPED);
    assert_int_equal(dropped.n, 0);
    next_is(&list, 20, PENDING_EVENT_NEW);
    next_is(&list, 13, PENDING_EVENT_DEAD_LETTERED);
    assert_int_equal(list.n, 0);
}

static void with_an_epoch_goes_what_is_of_it(void **state)
{
    struct pending_event_list list = { 0 }, dropped = { 0 };

    (void)state;
    push(&list, 1, 10, PENDING_EVENT_DEAD_LETTER_DUE);
    push(&list, 2, 20, PENDING_EVENT_DEAD_LETTER_DUE);
    push(&list, 1, 11, PENDING_EVENT_DEAD_LETTER_DUE);
    list.last->epoch = 5;
    push(&list, 1, 12, PENDING_EVENT_DEAD_LETTERED);
    list.last->epoch = 5;
    pending_event_list_drop_epoch(&list, 1, 5, &dropped);

    next_is(&dropped, 11, PENDING_EVENT_DROPPED);
    assert_int_equal(dropped.n, 0);
    next_is(&list, 10, PENDING_EVENT_DEAD_LETTER_DUE);
    next_is(&list, 20, PENDING_EVENT_DEAD_LETTER_DUE);
    next_is(&list, 12, PENDING_EVENT_DEAD_LETTERED);
    assert_int_equal(list.n, 0);
}

static void an_event_that_comes_again_is_put_last(void **state)
{
    struct pending_event_list list = { 0 };

    (void)state;
    for (int64_t offset = 0; offset < 3; offset++)
        push(&list, 1, offset, PENDING_EVENT_DEAD_LETTER_DUE);
    for (int64_t offset = 2; offset >= 0; offset--) {
        const struct pending_event again = { .partition = 1, .offset = offset };

        assert_true(pending_event_list_adopt(&list, &again));
    }
    assert_int_equal(list.n, 3);
    for (int64_t offset = 2; offset >= 0; offset--)
        next_is(&list, offset, PENDING_EVENT_DEAD_LETTER_DUE);
    assert_null(list.last);
}

static void an_event_that_comes_again_is_the_one_of_the_same_record(void **state)
{
    struct pending_event_list list = { 0 };
    struct pending_event again = {
        .partition = 1, .offset = 11, .timestamp_ms = 5, .epoch = 9, .request_id = 77
    };

    (void)state;
    push(&list, 1, 10, PENDING_EVENT_DEAD_LETTER_DUE);
    push(&list, 1, 11, PENDING_EVENT_DEAD_LETTER_DUE);
    list.last->timestamp_ms = 5;
    list.last->given_up = true;
    assert_true(pending_event_list_adopt(&list, &again));
    assert_int_equal(list.last->epoch, 9);
    assert_int_equal(list.last->request_id, 77);
    assert_false(list.last->given_up);
    assert_int_equal(list.first->epoch, 0);

    again.timestamp_ms = 6; /* the topic was made again */
    assert_false(pending_event_list_adopt(&list, &again));
    again.timestamp_ms = 5;
    again.partition = 2;
    assert_false(pending_event_list_adopt(&list, &again));
    again.partition = 1;
    again.offset = 12;
    assert_false(pending_event_list_adopt(&list, &again));
    pending_event_list_clear(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_its_partition_goes_all_but_what_is_to_be_marked),
        cmocka_unit_test(with_an_epoch_goes_what_is_of_it),
        cmocka_unit_test(an_event_that_comes_again_is_put_last),
        cmocka_unit_test(an_event_that_comes_again_is_the_one_of_the_same_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
