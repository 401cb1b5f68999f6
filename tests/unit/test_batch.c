#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "worker/export/batch.h"
#include "worker/export/mapping.h"
#include "worker/export/rows.h"

#define PROFILE(address) "{\"type\":\"profile\",\"attributes\":{\"email\":\"" address "\"}}"

static enum batch_add add(struct batch *batch, const char *object)
{
    return batch_add(batch, object, strlen(object));
}

static void each_limit_ends_a_batch(void **state)
{
    static const struct {
        const char *objects[5];
        enum batch_add last;
        size_t kept;
    } cases[] = {
        { { "1", "2", "3" }, BATCH_ADDED, 3 },
        { { "1", "2", "3", "4" }, BATCH_FULL, 3 },
        { { "12345678901234567890" }, BATCH_ADDED, 1 },
        { { "1234567890", "12345678" }, BATCH_ADDED, 2 }, /* exactly 20 bytes */
        { { "1234567890", "123456789" }, BATCH_FULL, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct batch_limits limits = { .rows = 3, .bytes = 20 };
        CLEANUP(batch_release) struct batch batch;
        enum batch_add last = BATCH_ADDED;

        batch_init(&batch, &limits);
        for (size_t j = 0; cases[i].objects[j]; j++)
            last = add(&batch, cases[i].objects[j]);
        assert_int_equal(last, cases[i].last);
        assert_int_equal(batch.rows, cases[i].kept);
    }
}

static void a_body_is_taken_apart_again(void **state)
{
    struct batch_limits limits = { .rows = 10, .bytes = 1000 };
    CLEANUP(batch_release) struct batch batch;
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    batch_init(&batch, &limits);
    assert_int_equal(add(&batch, PROFILE("a+b@x.example")), BATCH_ADDED);
    assert_int_equal(add(&batch, PROFILE("b@x.example")), BATCH_ADDED);
    assert_int_equal(add(&batch, PROFILE("c@x.example")), BATCH_ADDED);
    assert_true(rows_parse(&rows, batch.body.data, batch.body.len, &err));
    assert_int_equal(rows.n, 3);
    assert_memory_equal(rows.row[2].object, PROFILE("c@x.example"), rows.row[2].len);
    assert_int_equal(rows_find(&rows, "a+b@x.example"), 0);
    assert_int_equal(rows_find(&rows, " C@X.Example\n"), 2);
    assert_int_equal(rows_find(&rows, "d@x.example"), -1);
    assert_int_equal(rows_find(&rows, ""), -1);
}

static void a_damaged_body_is_told(void **state)
{
    struct rows rows = ROWS_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(rows_parse(&rows, "{\"x\":1}", 7, &err));
    assert_int_equal(err.kind, ERROR_FATAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_limit_ends_a_batch),
        cmocka_unit_test(a_body_is_taken_apart_again),
        cmocka_unit_test(a_damaged_body_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
