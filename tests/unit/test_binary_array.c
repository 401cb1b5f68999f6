#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "worker/store/binary_array.h"

/* As `select array[…]` in psql with binary results would have them. */
#define HEADER(oid, n) "\0\0\0\1\0\0\0\0\0\0\0" oid "\0\0\0" n "\0\0\0\1"
#define EXPECT(array, literal)                                                 \
    do {                                                                       \
        assert_true(binary_array_close(&(array)));                             \
        assert_int_equal((array).bytes.len, sizeof(literal) - 1);              \
        assert_memory_equal((array).bytes.data, literal, sizeof(literal) - 1); \
    } while (0)

static void texts_are_their_bytes_and_null_has_none(void **state)
{
    CLEANUP(binary_array_release) struct binary_array array;

    (void)state;
    binary_array_init(&array, ARRAY_OF_TEXT);
    binary_array_text(&array, "a\"{}\\", 5);
    binary_array_text(&array, NULL, 0);
    binary_array_text(&array, "", 0);
    EXPECT(array, HEADER("\x19", "\3") "\0\0\0\5a\"{}\\"
                                       "\xff\xff\xff\xff"
                                       "\0\0\0\0");
}

static void numbers_are_big_endian(void **state)
{
    CLEANUP(binary_array_release) struct binary_array array;

    (void)state;
    binary_array_init(&array, ARRAY_OF_INT8);
    binary_array_int64(&array, -2);
    binary_array_int64(&array, 0x0102030405060708);
    EXPECT(array, HEADER("\x14", "\2") "\0\0\0\x8\xff\xff\xff\xff\xff\xff\xff\xfe"
                                       "\0\0\0\x8\1\2\3\4\5\6\7\x8");
}

static void truth_is_one_byte(void **state)
{
    CLEANUP(binary_array_release) struct binary_array array;

    (void)state;
    binary_array_init(&array, ARRAY_OF_BOOL);
    binary_array_bool(&array, true);
    binary_array_bool(&array, false);
    EXPECT(array, HEADER("\x10", "\2") "\0\0\0\1\1\0\0\0\1\0");
}

static void a_cleared_array_is_empty_and_is_filled_again(void **state)
{
    CLEANUP(binary_array_release) struct binary_array array;

    (void)state;
    binary_array_init(&array, ARRAY_OF_TEXT);
    for (int i = 0; i < 300; i++)
        binary_array_text(&array, "x", 1);
    binary_array_clear(&array);
    EXPECT(array, HEADER("\x19", "\0"));
    binary_array_text(&array, "y", 1);
    EXPECT(array, HEADER("\x19", "\1") "\0\0\0\1y");
}

static void more_than_there_is_room_for_is_told_at_the_end(void **state)
{
    CLEANUP(binary_array_release) struct binary_array array;
    char text[1024] = { 0 };

    (void)state;
    binary_array_init(&array, ARRAY_OF_TEXT);
    for (int i = 0; i < 32 * 1024; i++)
        binary_array_text(&array, text, sizeof text);
    assert_false(binary_array_close(&array));
    binary_array_clear(&array);
    EXPECT(array, HEADER("\x19", "\0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_their_bytes_and_null_has_none),
        cmocka_unit_test(numbers_are_big_endian),
        cmocka_unit_test(truth_is_one_byte),
        cmocka_unit_test(a_cleared_array_is_empty_and_is_filled_again),
        cmocka_unit_test(more_than_there_is_room_for_is_told_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
