#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "worker/kafka/record.h"

static const struct record_header headers[] = {
    { "a", "1", 1 },
    { "b", NULL, 0 },
    { "a", "2", 1 },
    { "c", "", 0 },
};

static const struct record record = {
    .topic = "t", .key = "k\0y", .key_bytes = 3, .value = "", .headers = headers, .headers_n = 4
};

static void the_last_header_of_a_name_counts(void **state)
{
    (void)state;
    assert_ptr_equal(record_header_find(&record, "a"), &headers[2]);
    assert_null(record_header_find(&record, "A"));
    assert_ptr_equal(record_header_find_any_case(&record, "A"), &headers[2]);
    assert_null(record_header_find(&record, "d"));
}

static void a_copy_owns_everything_and_keeps_null_apart_from_empty(void **state)
{
    CLEANUP(record_freep) struct record *copy = record_copy(&record);

    (void)state;
    assert_non_null(copy);
    assert_string_equal(copy->topic, "t");
    assert_ptr_not_equal(copy->topic, record.topic);
    assert_int_equal(copy->key_bytes, 3);
    assert_memory_equal(copy->key, "k\0y", 3);
    assert_non_null(copy->value);
    assert_int_equal(copy->value_bytes, 0);
    assert_int_equal(copy->headers_n, 4);
    assert_string_equal(copy->headers[2].name, "a");
    assert_memory_equal(copy->headers[2].value, "2", 1);
    assert_null(copy->headers[1].value);
    assert_non_null(copy->headers[3].value);
}

static void a_record_of_nothing_can_be_copied(void **state)
{
    const struct record empty = { .topic = "" };
    CLEANUP(record_freep) struct record *copy = record_copy(&empty);

    (void)state;
    assert_non_null(copy);
    assert_null(copy->key);
    assert_null(copy->value);
    assert_int_equal(copy->headers_n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_header_of_a_name_counts),
        cmocka_unit_test(a_copy_owns_everything_and_keeps_null_apart_from_empty),
        cmocka_unit_test(a_record_of_nothing_can_be_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
