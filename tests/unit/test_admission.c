#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/ingest/admission.h"

static struct admission holding(size_t events, size_t bytes_each)
{
    struct admission admission = { 0 };

    for (size_t i = 0; i < events; i++)
        admission_take(&admission, bytes_each);
    return admission;
}

static void it_is_full_with_so_many_events_however_small(void **state)
{
    struct admission admission = holding(ADMISSION_EVENTS - 1, 1);

    (void)state;
    assert_false(admission.full);
    admission_take(&admission, 1);
    assert_true(admission.full);
}

static void it_is_full_with_so_many_bytes_however_few_events(void **state)
{
    struct admission admission = holding(1, ADMISSION_BYTES - 1);

    (void)state;
    assert_false(admission.full);
    admission_take(&admission, 1);
    assert_true(admission.full);
}

static void what_was_full_is_so_until_half_of_the_events_are_gone(void **state)
{
    struct admission admission = holding(ADMISSION_EVENTS, 1);

    (void)state;
    admission_give(&admission, ADMISSION_EVENTS / 2 - 1, ADMISSION_EVENTS / 2 - 1);
    assert_true(admission.full);
    admission_give(&admission, 1, 1);
    assert_false(admission.full);
}

static void what_was_full_is_so_until_half_of_the_bytes_are_gone(void **state)
{
    struct admission admission = holding(2, ADMISSION_BYTES / 2);

    (void)state;
    admission_give(&admission, 1, ADMISSION_BYTES / 2 - 1);
    assert_true(admission.full);
    admission_give(&admission, 0, 1);
    assert_false(admission.full);
}

/* Events may go without their bytes, as a body may be given away before its event. */
static void half_of_one_of_the_two_is_not_enough(void **state)
{
    struct admission admission = holding(ADMISSION_EVENTS, ADMISSION_BYTES / ADMISSION_EVENTS + 1);

    (void)state;
    admission_give(&admission, ADMISSION_EVENTS, 0);
    assert_true(admission.full);
    admission_give(&admission, 0, admission.bytes);
    assert_false(admission.full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_full_with_so_many_events_however_small),
        cmocka_unit_test(it_is_full_with_so_many_bytes_however_few_events),
        cmocka_unit_test(what_was_full_is_so_until_half_of_the_events_are_gone),
        cmocka_unit_test(what_was_full_is_so_until_half_of_the_bytes_are_gone),
        cmocka_unit_test(half_of_one_of_the_two_is_not_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
