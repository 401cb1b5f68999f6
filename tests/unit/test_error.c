#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/error.h"

static void what_was_being_done_comes_before_the_cause(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(error_set(&err, ERROR_LOST, "row %d is gone", 7));
    assert_false(error_wrap(&err, "reading %s", "it"));
    assert_string_equal(err.text, "reading it: row 7 is gone");
    assert_int_equal(err.kind, ERROR_LOST);
}

static void the_systems_reason_comes_last(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    errno = ENOENT;
    assert_false(error_errno(&err, ERROR_INPUT, "cannot open %s", "x"));
    assert_string_equal(err.text, "cannot open x: No such file or directory");
    assert_int_equal(err.kind, ERROR_INPUT);
}

static void what_is_too_long_is_cut(void **state)
{
    struct error err = ERROR_INIT;
    char text[sizeof err.text * 2];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_false(error_set(&err, ERROR_INPUT, "%s", text));
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_false(error_wrap(&err, "%s", text));
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_being_done_comes_before_the_cause),
        cmocka_unit_test(the_systems_reason_comes_last),
        cmocka_unit_test(what_is_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
