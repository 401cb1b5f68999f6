#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/line_queue.h"

static void lines_come_out_as_they_went_in_however_often_the_ring_goes_round(void **state)
{
    struct line_queue queue;
    char in[40], out[40];
    int put = 0, got = 0;

    (void)state;
    assert_true(line_queue_init(&queue, 101));
    while (got < 1000) {
        int n = snprintf(in, sizeof in, "line %d %.*s", put, put % 17, "0123456789abcdefg");
        if (line_queue_put(&queue, in, (size_t)n, 0)) {
            put++;
            continue;
        }
        size_t m = line_queue_get(&queue, out, sizeof out);
        n = snprintf(in, sizeof in, "line %d %.*s", got, got % 17, "0123456789abcdefg");
        assert_int_equal(m, n);
        assert_memory_equal(out, in, m);
        got++;
    }
    assert_true(put > got);
    line_queue_release(&queue);
}

static void what_must_stay_free_stays_free(void **state)
{
    struct line_queue queue;
    const size_t head = sizeof(size_t);

    (void)state;
    assert_true(line_queue_init(&queue, 100 + head));
    assert_false(line_queue_put(&queue, "0123456789", 10, 91));
    assert_true(line_queue_put(&queue, "0123456789", 10, 90));
    assert_false(line_queue_put(&queue, "x", 1, 90 - head));
    assert_true(line_queue_put(&queue, "x", 1, 89 - head));
    line_queue_release(&queue);
}

static void it_is_empty_before_and_after(void **state)
{
    struct line_queue queue;
    char out[8];

    (void)state;
    assert_true(line_queue_init(&queue, 50));
    assert_int_equal(line_queue_get(&queue, out, sizeof out), 0);
    assert_true(line_queue_put(&queue, "a", 1, 0));
    assert_int_equal(line_queue_get(&queue, out, sizeof out), 1);
    assert_int_equal(line_queue_get(&queue, out, sizeof out), 0);
    line_queue_release(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_out_as_they_went_in_however_often_the_ring_goes_round),
        cmocka_unit_test(what_must_stay_free_stays_free),
        cmocka_unit_test(it_is_empty_before_and_after),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
