#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/http/kept_answer.h"

static void an_answer_is_given_again_while_it_is_young_and_its_source_is_older(void **state)
{
    static const struct {
        int64_t keep_ms, source_ms, now_ms;
        bool good;
    } cases[] = {
        { 100, 0, 1000, true },  { 100, 999, 1000, true },   { 100, 0, 1099, true },
        { 100, 0, 1100, false }, { 100, 1000, 1000, false }, { 100, 1001, 1002, false },
        { 0, 0, 1000, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kept_answer kept;

        kept_answer_init(&kept);
        kept_answer_begin(&kept, 1000);
        assert_int_equal(
            kept_answer_is_good(&kept, cases[i].keep_ms, cases[i].source_ms, cases[i].now_ms),
            cases[i].good);
        kept_answer_release(&kept);
    }
}

static void what_was_never_made_or_is_forgotten_is_not_given(void **state)
{
    struct kept_answer kept;

    (void)state;
    kept_answer_init(&kept);
    assert_false(kept_answer_is_good(&kept, 100, 0, 10));
    kept_answer_begin(&kept, 10);
    kept_answer_forget(&kept);
    assert_false(kept_answer_is_good(&kept, 100, 0, 10));
    kept_answer_release(&kept);
}

static void an_answer_that_does_not_fit_is_an_error(void **state)
{
    struct kept_answer kept;

    (void)state;
    kept_answer_init(&kept);
    kept.body.max = 4;
    kept_answer_begin(&kept, 1);
    kept.status = 200;
    strbuf_add_str(&kept.body, "four");
    kept_answer_finish(&kept);
    assert_int_equal(kept.status, 200);
    strbuf_add_str(&kept.body, "!");
    kept_answer_finish(&kept);
    assert_int_equal(kept.status, 500);
    assert_int_equal(kept.body.len, 0);
    kept_answer_begin(&kept, 2);
    strbuf_add_str(&kept.body, "well");
    assert_true(strbuf_ok(&kept.body));
    kept_answer_release(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_given_again_while_it_is_young_and_its_source_is_older),
        cmocka_unit_test(what_was_never_made_or_is_forgotten_is_not_given),
        cmocka_unit_test(an_answer_that_does_not_fit_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
