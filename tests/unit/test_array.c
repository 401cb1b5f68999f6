#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/array.h"

static void an_array_keeps_its_items_while_it_grows(void **state)
{
    int *items = NULL;
    size_t cap = 0;

    (void)state;
    for (size_t n = 0; n < 1000; n++) {
        int *larger = array_grow(items, n, &cap, sizeof *items);

        assert_non_null(larger);
        items = larger;
        assert_true(n < cap);
        items[n] = (int)n;
    }
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);
    assert_int_equal(cap, 1024);
    free(items);
}

static void nothing_moves_while_there_is_room(void **state)
{
    char room[4];
    size_t cap = 4;

    (void)state;
    assert_ptr_equal(array_grow(room, 3, &cap, 1), room);
    assert_int_equal(cap, 4);
}

static void a_size_that_overflows_is_out_of_memory(void **state)
{
    static const struct {
        size_t cap, item_bytes;
    } cases[] = { { SIZE_MAX / 2 + 1, 1 }, { SIZE_MAX / 16, 16 }, { 0, SIZE_MAX } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t cap = cases[i].cap;

        assert_null(array_grow(NULL, cap, &cap, cases[i].item_bytes));
        assert_int_equal(cap, cases[i].cap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_array_keeps_its_items_while_it_grows),
        cmocka_unit_test(nothing_moves_while_there_is_room),
        cmocka_unit_test(a_size_that_overflows_is_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
