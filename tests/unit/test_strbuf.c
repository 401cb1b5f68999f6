#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

static void what_is_added_is_there_in_order(void **state)
{
    CLEANUP(strbuf_release) struct strbuf buf = STRBUF_INIT(1000);

    (void)state;
    strbuf_add_str(&buf, "{\"n\":");
    strbuf_addf(&buf, "%d", 42);
    strbuf_add(&buf, "}xyz", 1);
    strbuf_add(&buf, NULL, 0);
    assert_true(strbuf_ok(&buf));
    assert_string_equal(buf.data, "{\"n\":42}");
    assert_int_equal(buf.len, 8);
}

static void bytes_may_hold_a_nul(void **state)
{
    CLEANUP(strbuf_release) struct strbuf buf = STRBUF_INIT(10);

    (void)state;
    strbuf_add(&buf, "a\0b", 3);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf.data, "a\0b\0", 4);
}

static void it_fills_up_to_its_limit_and_not_beyond(void **state)
{
    CLEANUP(strbuf_release) struct strbuf buf = STRBUF_INIT(100);

    (void)state;
    for (int i = 0; i < 10; i++)
        strbuf_add_str(&buf, "0123456789");
    assert_true(strbuf_ok(&buf));
    assert_int_equal(buf.len, 100);
    strbuf_add(&buf, "x", 1);
    assert_false(strbuf_ok(&buf));
    assert_int_equal(buf.len, 100);
}

static void a_failure_sticks_until_it_is_rewound(void **state)
{
    CLEANUP(strbuf_release) struct strbuf buf = STRBUF_INIT(5);

    (void)state;
    strbuf_add_str(&buf, "ab");
    strbuf_addf(&buf, "%s", "too long for it");
    strbuf_add_str(&buf, "c"); /* would fit, but half a text is none */
    assert_false(strbuf_ok(&buf));
    assert_string_equal(buf.data, "ab");

    strbuf_rewind(&buf, 1);
    strbuf_add_str(&buf, "c");
    assert_true(strbuf_ok(&buf));
    assert_string_equal(buf.data, "ac");
}

static void a_taken_string_leaves_an_empty_buffer(void **state)
{
    CLEANUP(strbuf_release) struct strbuf buf = STRBUF_INIT(5);

    (void)state;
    strbuf_add_str(&buf, "abc");
    char *text = strbuf_take(&buf);
    assert_string_equal(text, "abc");
    assert_null(buf.data);
    assert_int_equal(buf.max, 5);
    free(text);
}

static void nothing_is_taken_of_an_empty_or_failed_buffer(void **state)
{
    struct strbuf buf = STRBUF_INIT(3);

    (void)state;
    assert_null(strbuf_take(&buf));
    strbuf_add_str(&buf, "ab");
    strbuf_add_str(&buf, "cd");
    assert_null(strbuf_take(&buf));
    assert_true(strbuf_ok(&buf));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_is_there_in_order),
        cmocka_unit_test(bytes_may_hold_a_nul),
        cmocka_unit_test(it_fills_up_to_its_limit_and_not_beyond),
        cmocka_unit_test(a_failure_sticks_until_it_is_rewound),
        cmocka_unit_test(a_taken_string_leaves_an_empty_buffer),
        cmocka_unit_test(nothing_is_taken_of_an_empty_or_failed_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
