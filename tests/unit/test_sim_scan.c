#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/simulator/scan.h"

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static bool is_valid(const char *text, size_t n)
{
    struct scan scan;

    scan_init(&scan, text, n);
    scan_skip(&scan);
    return scan_finish(&scan);
}

static void json_is_accepted(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        " \t\r\n[ ] ",
        "null",
        "true",
        "false",
        "\"\"",
        "0",
        "-0",
        "-12.5e+30",
        "1E5",
        "0.0",
        "123456789012345678901234567890",
        "[1,2,[3,{\"a\":[]}]]",
        "{\"a\":1,\"a\":2}",
        "{\"a\" : [ 1 , 2 ] , \"b\":{} }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\\u00e9\\uD83D\\uDE00\"",
        "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
        "\"\x7f\"",
    };

    (void)state;
    for (size_t i = 0; i < LEN(texts); i++)
        if (!is_valid(texts[i], strlen(texts[i])))
            fail_msg("refused: %s", texts[i]);
}

static const char *const not_json[] = {
    "",
    " ",
    "{",
    "[",
    "}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,\"a\":1}",
    "{\"a\":1 \"b\":2}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1]",
    "[1}",
    "[]]",
    "{} {}",
    "01",
    "-",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "NaN",
    "Infinity",
    "nul",
    "nulll",
    "True",
    "'a'",
    "\"a",
    "\"\\",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\ud83d\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ude00\"",
    "\"\n\"",
    "\"\t\"",
    "\"\x80\"",
    "\"\xc3\"",
    "\"\xc0\xaf\"",
    "\"\xe0\x80\xaf\"",
    "\"\xed\xa0\x80\"",
    "\"\xf0\x80\x80\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xff\"",
    "// no\n1",
    "\xef\xbb\xbf[]",
};

static void what_is_not_json_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(not_json); i++)
        if (is_valid(not_json[i], strlen(not_json[i])))
            fail_msg("accepted: %s", not_json[i]);
    assert_false(is_valid("\"a\0b\"", 5));
    assert_false(is_valid("[1]\0", 4));
}

/* A text is copied to its exact size, so that a sanitizer sees any look beyond its end. */
static void every_beginning_of_a_text_is_refused_without_looking_beyond_it(void **state)
{
    static const char text[] = "{\"a\":[1.5e-3,true,null,\"\\u00e9\\ud83d\\ude00\xe2\x82\xac\"],"
                               "\"b\":{\"c\":-0}}";
    size_t n = sizeof text - 1;

    (void)state;
    assert_true(is_valid(text, n));
    for (size_t i = 0; i < n; i++) {
        char *part = test_malloc(i + 1);

        memcpy(part, text, i);
        assert_false(is_valid(part, i));
        test_free(part);
    }
}

static void nesting_is_bounded(void **state)
{
    char text[2 * SCAN_DEPTH_MAX + 2];

    (void)state;
    memset(text, '[', SCAN_DEPTH_MAX);
    memset(text + SCAN_DEPTH_MAX, ']', SCAN_DEPTH_MAX);
    assert_true(is_valid(text, (size_t)2 * SCAN_DEPTH_MAX));
    memset(text, '[', SCAN_DEPTH_MAX + 1);
    memset(text + SCAN_DEPTH_MAX + 1, ']', SCAN_DEPTH_MAX + 1);
    assert_false(is_valid(text, sizeof text));
}

static void members_are_pulled_one_by_one(void **state)
{
    static const char text[] = "{\"a\":[1,2],\"b\":\"x\",\"\":{}}";
    static const char *const names[] = { "a", "b", "" };
    struct scan scan;
    struct scan_text name;
    size_t n = 0;

    (void)state;
    scan_init(&scan, text, sizeof text - 1);
    assert_true(scan_open(&scan, SCAN_OBJECT));
    while (scan_member(&scan, &name)) {
        assert_true(n < LEN(names) && scan_text_is(&name, names[n]));
        n++;
        assert_true(scan_skip(&scan));
    }
    assert_int_equal(n, 3);
    assert_true(scan_finish(&scan));
}

static void the_wrong_kind_of_value_is_not_entered(void **state)
{
    struct scan scan;
    struct scan_text text;

    (void)state;
    scan_init(&scan, "[1]", 3);
    assert_int_equal(scan_peek(&scan), SCAN_ARRAY);
    assert_false(scan_open(&scan, SCAN_OBJECT));
    assert_false(scan_string(&scan, &text));
    assert_false(scan_finish(&scan));
}

static void escapes_are_resolved(void **state)
{
    static const struct {
        const char *json, *plain;
    } cases[] = {
        { "\"abc\"", "abc" },
        { "\"a\\tb\\\\c\\\"\\/\"", "a\tb\\c\"/" },
        { "\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac" },
        { "\"\\uD83D\\ude00!\"", "\xf0\x9f\x98\x80!" },
    };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100);
        struct scan scan;
        struct scan_text text;

        scan_init(&scan, cases[i].json, strlen(cases[i].json));
        assert_true(scan_string(&scan, &text));
        scan_text_decode(&text, &out);
        assert_string_equal(out.data, cases[i].plain);
        assert_true(scan_text_is(&text, cases[i].plain));
        assert_false(scan_text_is(&text, "other"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_accepted),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(every_beginning_of_a_text_is_refused_without_looking_beyond_it),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(members_are_pulled_one_by_one),
        cmocka_unit_test(the_wrong_kind_of_value_is_not_entered),
        cmocka_unit_test(escapes_are_resolved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
