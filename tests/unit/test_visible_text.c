#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/visible_text.h"

struct shown {
    enum visible_text_mode mode;
    const char *text, *shown;
};

static const struct shown table[] = {
    { VISIBLE_LINE, "", "" },
    { VISIBLE_LINE,
      "news, Gr\xc3\xbc\xc3\x9f"
      "e \xe2\x82\xac \xf0\x9f\x98\x80 \"a\\b\"",
      "news, Gr\xc3\xbc\xc3\x9f"
      "e \xe2\x82\xac \xf0\x9f\x98\x80 \"a\\b\"" },
    { VISIBLE_LINE, "a\033[2Jb\a\r\n\tc\x7f", "a\\u001b[2Jb\\u0007\\u000d\\u000a\\u0009c\\u007f" },
    { VISIBLE_LINES, "one\ntwo\033", "one\ntwo\\u001b" },
    { VISIBLE_JSON, "say \"\\\n", "say \\\"\\\\\\u000a" },
    /* C1, as UTF-8 and as a byte by itself */
    { VISIBLE_LINE,
      "\xc2\x9b"
      "31m\xc2\x80\xc2\x9f\xc2\xa0",
      "\\u009b31m\\u0080\\u009f\xc2\xa0" },
    { VISIBLE_LINE,
      "\x9b"
      "31m",
      "\xef\xbf\xbd"
      "31m" },
    /* marks of direction, separators of lines */
    { VISIBLE_LINE, "\xe2\x80\xae\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\x8e\xe2\x80\x8f",
      "\\u202e\\u202a\\u2066\\u2069\\u200e\\u200f" },
    { VISIBLE_LINE, "\xd8\x9c\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\x8d",
      "\\u061c\\u2028\\u2029\xe2\x80\x8d" },
    /* no UTF-8: too long a form, half of a pair, beyond the last one, broken off */
    { VISIBLE_LINE, "\xc0\x9b|\xe0\x80\x9b|\xed\xa0\x80|\xf4\x90\x80\x80|\xf8|\xe2\x82",
      "\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
      "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd" },
};

static void what_steers_a_terminal_is_shown_and_all_else_stays(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(1000);

        assert_true(
            visible_text_add(&out, table[i].mode, table[i].text, strlen(table[i].text), 1000));
        assert_string_equal(out.data ? out.data : "", table[i].shown);
    }
}

static void a_nul_in_the_middle_is_shown(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100);

    (void)state;
    assert_true(visible_text_add(&out, VISIBLE_LINE, "a\0b", 3, 100));
    assert_string_equal(out.data, "a\\u0000b");
}

static void the_bytes_that_are_shown_are_counted_without_memory(void **state)
{
    static const char *const texts[] = { "", "a", "a\"b\\c\n", "\xc3\xa9\xe2\x80\xa8",
                                         "\xff\x80z" };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100);
        size_t n = strlen(texts[i]);

        assert_true(visible_text_add(&out, VISIBLE_JSON, texts[i], n, 100));
        assert_int_equal(visible_text_bytes(VISIBLE_JSON, texts[i], n), out.len);
    }
}

static void what_does_not_fit_is_cut_between_code_points(void **state)
{
    static const char text[] = "ab\xe2\x82\xac\033z";

    (void)state;
    for (size_t max = 0; max < 14; max++) {
        static const size_t kept[] = { 0, 1, 2, 2, 2, 5, 5, 5, 5, 5, 5, 11, 12, 12 };
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100);

        assert_int_equal(visible_text_add(&out, VISIBLE_LINE, text, strlen(text), max), max >= 12);
        assert_int_equal(out.len, kept[max]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_steers_a_terminal_is_shown_and_all_else_stays),
        cmocka_unit_test(a_nul_in_the_middle_is_shown),
        cmocka_unit_test(the_bytes_that_are_shown_are_counted_without_memory),
        cmocka_unit_test(what_does_not_fit_is_cut_between_code_points),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
