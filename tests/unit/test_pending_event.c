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

/* A letter on its way is written, whoever owns the partition: its row waits for that. */
static void with_its_partition_goes_what_is_new_or_unread_and_no_letter(void **state)
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
    next_is(&dropped, 12, PENDING_EVENT_DROPPED);
    assert_int_equal(dropped.n, 0);
    next_is(&list, 20, PENDING_EVENT_NEW);
    next_is(&list, 11, PENDING_EVENT_DEAD_LETTER_DUE);
    next_is(&list, 13, PENDING_EVENT_DEAD_LETTERED);
    assert_int_equal(list.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_its_partition_goes_what_is_new_or_unread_and_no_letter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
