#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/cli/cell.h"

static void values_are_shown_in_words(void **state)
{
    static const struct {
        const char *json, *text;
    } cases[] = {
        { "\"a\"", "a" },
        { "17", "17" },
        { "0.25", "0.25" },
        { "true", "yes" },
        { "false", "no" },
        { "null", "" },
        { "[\"a\",2]", "a, 2" },
        { "{\"role\":\"team\"}", "role: team" },
        { "{\"role\":\"team\",\"n\":[1,null]}", "role: team; n: 1, " },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);
        json_t *value = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);

        cell_add(&text, value);
        assert_string_equal(text.data ? text.data : "", cases[i].text);
        json_decref(value);
    }
}

/* To the end of a character; only memory that is missing makes the text one that failed. */
static void a_value_that_is_too_long_is_cut(void **state)
{
    static const char *const values[] = { "[\"12345\",\"6\"]", "\"1234567\xc3\xa4\"",
                                          "{\"member\":\"x\"}", "123456789" };
    static const char *const cut[] = { "12345, 6", "1234567", "member: ", "12345678" };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(8);
        json_t *value = json_loads(values[i], JSON_DECODE_ANY, NULL);

        cell_add(&text, value);
        assert_true(strbuf_ok(&text));
        assert_string_equal(text.data, cut[i]);
        json_decref(value);
    }
}

static void a_member_is_found_by_its_path(void **state)
{
    json_t *run = json_loads("{\"counts\": {\"read\": 5}}", 0, NULL);

    (void)state;
    assert_int_equal(json_integer_value(cell_member(run, "counts.read")), 5);
    assert_null(cell_member(run, "counts.sent"));
    assert_null(cell_member(run, "other.read"));
    json_decref(run);
}

static void width_counts_characters_and_wide_ones_twice(void **state)
{
    (void)state;
    assert_int_equal(cell_width("abc"), 3);
    assert_int_equal(cell_width("äö"), 2);
    assert_int_equal(cell_width("日本"), 4);
}

static void a_state_has_the_colour_of_its_kind(void **state)
{
    (void)state;
    assert_string_equal(cell_colour("succeeded"), "green");
    assert_string_equal(cell_colour("waiting"), "yellow");
    assert_string_equal(cell_colour("needs attention"), "red");
    assert_null(cell_colour("queued"));
    assert_null(cell_colour(""));
}

static void what_does_not_fit_gives_way_to_an_ellipsis(void **state)
{
    static const struct {
        const char *text;
        int width;
        const char *cut;
    } cases[] = {
        { "newsletter", 10, "newsletter" },
        { "newsletter", 9, "newslett…" },
        { "newsletter", 1, "…" },
        { "äöüß", 3, "äö…" },
        { "日本語", 6, "日本語" },
        { "日本語", 5, "日本…" },
        { "日本語", 4, "日…" },
        { "", 1, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(CELL_MAX_BYTES);

        strbuf_add_str(&text, cases[i].text);
        if (text.data)
            cell_cut(&text, cases[i].width);
        assert_string_equal(text.data ? text.data : "", cases[i].cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_shown_in_words),
        cmocka_unit_test(a_value_that_is_too_long_is_cut),
        cmocka_unit_test(a_member_is_found_by_its_path),
        cmocka_unit_test(width_counts_characters_and_wide_ones_twice),
        cmocka_unit_test(what_does_not_fit_gives_way_to_an_ellipsis),
        cmocka_unit_test(a_state_has_the_colour_of_its_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
