#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "worker/export/import_failures.h"

/*
 * Pages of errors, as they are read one after the other: the letters of a page
 * are its errors, what follows a colon leads to the next page.
 *
 *     a to d  by address    A to D  by position    ?  names nobody
 *     z  an address of no row    Z  a position of no row    *  address of a, position of B
 */
enum { ROWS = 4 };

static const struct {
    const char *sentence;
    int64_t n_failed;
    const char *pages[14];
    const char *named; /* in the order in which they were named */
    int64_t unidentified;
    int read; /* pages */
} cases[] = {
    { "one page, all named by address", 2, { "ac" }, "ac", 0, 1 },
    { "one page, all named by position", 2, { "AC" }, "ac", 0, 1 },
    { "the address counts more than the position", 1, { "*" }, "a", 0, 1 },
    { "a row is named once", 1, { "aaAa" }, "a", 0, 1 },
    { "all pages are read", 3, { "a:1", "b:2", "c" }, "abc", 0, 3 },
    { "pages may repeat rows", 3, { "ab:1", "abc" }, "abc", 0, 2 },
    { "fewer named than counted", 3, { "a" }, "a", 2, 1 },
    { "none named", 2, { "" }, "", 2, 1 },
    { "an error that names nobody", 2, { "a?" }, "a", 1, 1 },
    { "an address or a position that is not ours names nobody", 2, { "zZ" }, "", 2, 1 },
    { "more named than counted: all that are named have failed", 1, { "abc" }, "abc", 0, 1 },
    { "more unmatched than counted are not more failures", 1, { "????" }, "", 1, 1 },
    { "the job does not count: its errors do", -1, { "a?" }, "a", 1, 1 },
    { "so over pages", -1, { "a:1", "?:2", "B" }, "ab", 1, 3 },
    { "never more failures than rows", 9, { "a?" }, "a", 3, 1 },
    { "nor where the errors count", -1, { "a?????????" }, "a", 3, 1 },
    { "a page that leads to itself ends where it has no news",
      2,
      { "a:1", "a:1", "a:1" },
      "a",
      1,
      2 },
    { "a link that is the same goes on while there is news",
      3,
      { "a:1", "b:1", "c:1", "c:1" },
      "abc",
      0,
      4 },
    { "a circle of pages is left after ten without news",
      4,
      { "a:1", "a:2", "a:1", "a:2", "a:1", "a:2", "a:1", "a:2", "a:1", "a:2", "a:1", "b" },
      "a",
      3,
      11 },
    { "nine pages without news are read on",
      4,
      { "a:1", "a:2", "a:1", "a:2", "a:1", "a:2", "a:1", "a:2", "a:1", "a:2", "b" },
      "ab",
      2,
      11 },
};

static char body[] = "{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\"}},\n"
                     "{\"type\":\"profile\",\"attributes\":{\"email\":\"b@x.example\"}},\n"
                     "{\"type\":\"profile\",\"attributes\":{\"email\":\"c@x.example\"}},\n"
                     "{\"type\":\"profile\",\"attributes\":{\"email\":\"d@x.example\"}}";

static struct import_error error_of(char letter)
{
    static const char *const addresses[] = { " A@X.example", "b@x.example", "c@x.example",
                                             "d@x.example" };
    struct import_error error = { .row = -1, .code = "invalid", .detail = "no good" };

    if (letter >= 'a' && letter <= 'd')
        error.email = addresses[letter - 'a'];
    else if (letter >= 'A' && letter <= 'D')
        error.row = letter - 'A';
    else if (letter == 'z')
        error.email = "z@x.example";
    else if (letter == 'Z')
        error.row = ROWS;
    else if (letter == '*')
        error = (struct import_error){ .email = "a@x.example", .row = 1, .code = "", .detail = "" };
    return error;
}

static bool read_page(struct import_failures *failures, const struct rows *rows, const char *text)
{
    struct import_error errors[16];
    struct import_error_page page = { .errors = errors };
    struct error err = ERROR_INIT;
    const char *next = strchr(text, ':');
    bool more;

    for (const char *at = text; *at && *at != ':'; at++)
        errors[page.n++] = error_of(*at);
    page.next = next ? next + 1 : NULL;
    assert_true(import_failures_page(failures, rows, &page, &more, &err));
    return more;
}

static void pages_of_errors_name_rows(void **state)
{
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(rows_parse(&rows, body, strlen(body), &err));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct import_failures failures = IMPORT_FAILURES_INIT;
        char named[ROWS + 1] = "";
        int read = 0;

        assert_true(import_failures_begin(&failures, cases[i].n_failed, rows.n, &err));
        while (read_page(&failures, &rows, cases[i].pages[read++]))
            continue;
        for (size_t n = 0; n < failures.n; n++)
            named[n] = (char)('a' + failures.failed[n].row);
        if (strcmp(named, cases[i].named) != 0 || read != cases[i].read ||
            failures.n_unidentified != cases[i].unidentified)
            fail_msg("%s: named %s, %d pages, %d unidentified", cases[i].sentence, named, read,
                     (int)failures.n_unidentified);
        assert_int_equal(import_failures_count(&failures),
                         (int64_t)strlen(named) + cases[i].unidentified);
        import_failures_release(&failures);
    }
}

static void the_first_words_for_a_row_are_kept(void **state)
{
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    struct import_failures failures = IMPORT_FAILURES_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(rows_parse(&rows, body, strlen(body), &err));
    assert_true(import_failures_begin(&failures, 2, rows.n, &err));
    assert_false(read_page(&failures, &rows, "*aB"));
    assert_string_equal(import_failures_code(&failures, 0), "");
    assert_string_equal(import_failures_code(&failures, 1), "invalid");
    assert_string_equal(import_failures_detail(&failures, 1), "no good");
    import_failures_release(&failures);
}

static void an_address_that_begins_another_one_is_a_row_of_its_own(void **state)
{
    static char two[] = "{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.ex\"}},\n"
                        "{\"type\":\"profile\",\"attributes\":{\"email\":\"a@x.example\"}}";
    CLEANUP(rows_release) struct rows rows = ROWS_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(rows_parse(&rows, two, strlen(two), &err));
    assert_int_equal(rows_find(&rows, "a@x.ex"), 0);
    assert_int_equal(rows_find(&rows, "a@x.example"), 1);
    assert_int_equal(rows_find(&rows, "a@x.exa"), -1);
    assert_int_equal(rows_find(&rows, "a@x.e"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_errors_name_rows),
        cmocka_unit_test(an_address_that_begins_another_one_is_a_row_of_its_own),
        cmocka_unit_test(the_first_words_for_a_row_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
