#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/kafka/client_text.h"

static void a_steady_member_is_one_by_the_last_join_state(void **state)
{
    static const struct {
        const char *statistics;
        bool steady;
    } cases[] = {
        { "{ \"cgrp\": { \"state\": \"up\", \"join_state\": \"steady\", \"n\": 1 } }", true },
        { "{\"cgrp\":{\"join_state\":\"steady\"}}", true },
        { "{ \"cgrp\": { \"join_state\": \"wait-join\" } }", false },
        { "{ \"join_state\": \"steady\", \"cgrp\": { \"join_state\": \"init\" } }", false },
        { "{ \"join_state\": \"init\", \"cgrp\": { \"join_state\": \"steady\" } }", true },
        { "{ \"cgrp\": { \"state\": \"steady\" } }", false },
        { "{ \"cgrp\": { \"join_state\":", false },
        { "{}", false },
        { "", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(client_text_is_steady(cases[i].statistics), cases[i].steady);
}

static void a_reset_names_the_partition_and_the_offset(void **state)
{
    struct client_reset reset;

    (void)state;
    assert_true(client_text_reset("[thrd:main]: events [3]: offset reset (at offset 17, broker 1) "
                                  "to BEGINNING: Broker: Offset out of range",
                                  &reset));
    assert_int_equal(reset.partition, 3);
    assert_int_equal(reset.offset, 17);
    assert_true(
        client_text_reset("t [2147483647]: offset reset (at offset 9223372036854775807)", &reset));
    assert_int_equal(reset.partition, INT32_MAX);
    assert_true(reset.offset == INT64_MAX);
}

static void what_is_no_reset_writes_nothing(void **state)
{
    static const char *const lines[] = {
        "",
        "events [3]: offset reset",
        "events [3]: offset reset (at offset INVALID, broker 1) to END",
        "events [3]: offset reset (at offset -1, broker 1) to END",
        "events [three]: offset reset (at offset 17, broker 1) to END",
        "3]: offset reset (at offset 17, broker 1) to END",
        "events [2147483648]: offset reset (at offset 17, broker 1) to END",
        "events [3]: offset reset (at offset 9223372036854775808, broker 1) to END",
        "events [3]: offset reset (at offset 111111111111111111111111111, broker 1) to END",
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct client_reset reset = { .partition = -1, .offset = -1 };

        assert_false(client_text_reset(lines[i], &reset));
        assert_int_equal(reset.partition, -1);
        assert_int_equal(reset.offset, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_member_is_one_by_the_last_join_state),
        cmocka_unit_test(a_reset_names_the_partition_and_the_offset),
        cmocka_unit_test(what_is_no_reset_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
