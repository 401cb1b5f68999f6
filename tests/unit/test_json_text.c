#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/ingest/json_text.h"

static struct bytes bytes_of(const char *text)
{
    return (struct bytes){ text, strlen(text) };
}

static bool is_json(const char *text)
{
    size_t where;

    return json_text_check(bytes_of(text), &where);
}

static const char *const valid_texts[] = {
    "0",
    "-0",
    " 1e400 ",
    "-12.5E-07",
    "123456789012345678901234567890",
    "true",
    "false",
    "null",
    "\"\"",
    "\"\\u0000\\ud800\\/\\b\"",
    "[]",
    "{}",
    " [ ] ",
    "[1, [2,{\"a\":[]}]]",
    "{\"a\":1,\"a\":2}",
    "{\"\":{}}",
    "\"\xf0\x9f\x98\x80\"",
    "\"\x7f\"",
};
static const char *const invalid_texts[] = {
    "",
    " ",
    "01",
    "-",
    "+1",
    "1.",
    ".5",
    "1e",
    "0x1",
    "NaN",
    "Infinity",
    "tru",
    "nulll",
    "'a'",
    "\"",
    "\"\\x\"",
    "\"\\u12g4\"",
    "\"\t\"",
    "\"\xc0\x80\"",
    "\"\xed\xa0\x80\"",
    "[",
    "]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1}",
    "{",
    "{]",
    "{1:2}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{\"a\":1 \"b\":2}",
    "1 2",
    "\xef\xbb\xbf{}",
    "[1]x",
    "/* */1",
};

static void what_the_grammar_allows_passes_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof valid_texts / sizeof valid_texts[0]; i++)
        if (!is_json(valid_texts[i]))
            fail_msg("refused: %s", valid_texts[i]);
    for (size_t i = 0; i < sizeof invalid_texts / sizeof invalid_texts[0]; i++)
        if (is_json(invalid_texts[i]))
            fail_msg("passed: %s", invalid_texts[i]);
}

/* A xorshift of its own, so that a failure can be repeated. */
static uint64_t draw(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Pieces of JSON in any order: good ones often enough. */
static size_t make_text(uint64_t *seed, char *text, size_t size)
{
    static const char *const pieces[] = { "{",     "}",      "[",       "]",    ",",        ":",
                                          "\"a\"", "\"",     "\\u00e9", "1",    "-0.5e-3",  "e",
                                          "true",  "null",   " ",       "\n",   "\xc3\xa9", "[]",
                                          "{}",    "\"b\":", "\"c\":1", "\xff", "00" };
    size_t n = 0;

    for (uint64_t left = 1 + draw(seed) % 9; left > 0; left--) {
        const char *piece = pieces[draw(seed) % (sizeof pieces / sizeof pieces[0])];
        n += (size_t)snprintf(text + n, size - n, "%s", piece);
    }
    return n;
}

/* Another parser's word on the same texts; they differ on nothing that is made here. */
static void it_agrees_with_a_parser_of_others(void **state)
{
    uint64_t seed = 20261125;
    int good = 0;

    (void)state;
    for (int round = 0; round < 60000; round++) {
        char text[128];
        size_t n = make_text(&seed, text, sizeof text), where = 0;
        json_t *theirs = json_loadb(text, n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
        bool ours = json_text_check((struct bytes){ text, n }, &where);

        if (ours != (theirs != NULL))
            fail_msg("%s: %s", ours ? "passed" : "refused", text);
        assert_true(where <= n);
        good += ours;
        json_decref(theirs);
    }
    assert_true(good > 600); /* else nothing was compared */
}

static void any_depth_is_read_and_no_text_is_too_long_to_refuse(void **state)
{
    static char text[JSON_TEXT_MAX_BYTES + 2];
    size_t half = JSON_TEXT_MAX_BYTES / 2, where;

    (void)state;
    memset(text, '[', half);
    memset(text + half, ']', half);
    assert_true(json_text_check((struct bytes){ text, 2 * half }, &where));
    assert_false(json_text_check((struct bytes){ text, 2 * half - 1 }, &where));
    assert_int_equal(where, 2 * half - 1);
    memset(text, '[', sizeof text);
    assert_false(json_text_check((struct bytes){ text, JSON_TEXT_MAX_BYTES }, &where));
    assert_false(json_text_check((struct bytes){ text, JSON_TEXT_MAX_BYTES + 1 }, &where));
    assert_int_equal(where, 0);
}

static void a_member_is_found_by_its_name_however_it_is_written(void **state)
{
    const struct bytes object =
        bytes_of("{\"a\" : {\"b\":1}, \"b\":[ 2 ],\"\\u0062\":\"x,}\",\"bb\":3}");

    (void)state;
    assert_true(bytes_are(json_text_member(object, "a"), "{\"b\":1}"));
    assert_true(bytes_are(json_text_member(object, "b"), "\"x,}\"")); /* the last one */
    assert_true(bytes_are(json_text_member(object, "bb"), "3"));
    assert_null(json_text_member(object, "c").at);
    assert_null(json_text_member(bytes_of("[\"a\"]"), "a").at);
    assert_null(json_text_member(bytes_of("{}"), "a").at);
    assert_null(json_text_member(BYTES_NONE, "a").at);
}

static void a_string_is_decoded_or_it_is_said_why_not(void **state)
{
    static const struct {
        const char *value;
        const char *text; /* NULL: no string */
    } cases[] = {
        { "\"\"", "" },
        { "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t" },
        { "\"\\u00e9\\u20AC\\ud83d\\ude00\xc3\xa9\"",
          "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa9" },
        { "\"\\ud800\"", NULL },
        { "\"\\ud800\\n\"", NULL },
        { "\"\\ud800\\u0041\"", NULL },
        { "\"\\ude00\"", NULL },
        { "7", NULL },
        { "null", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_text_characters characters = { 0 };
        enum json_text_string is = json_text_string(bytes_of(cases[i].value), &characters);

        assert_int_equal(is, cases[i].text ? JSON_TEXT_STRING : JSON_TEXT_NO_STRING);
        if (cases[i].text)
            assert_string_equal(characters.at, cases[i].text);
        free(characters.at);
    }
}

static bool add_up(void *opaque, struct bytes value)
{
    char *seen = opaque;
    size_t n = strlen(seen);

    (void)snprintf(seen + n, 64 - n, "%.*s;", (int)value.n, value.at);
    return !bytes_are(value, "stop") && !bytes_are(value, "null");
}

static void each_value_of_an_array_is_given_in_order(void **state)
{
    char seen[64] = "";

    (void)state;
    assert_true(json_text_each(bytes_of("[1 ,\"a,b\", [2,3] ]"), add_up, seen));
    assert_string_equal(seen, "1;\"a,b\";[2,3];");
    seen[0] = '\0';
    assert_true(json_text_each(bytes_of("[ ]"), add_up, seen));
    assert_false(json_text_each(bytes_of("[1,null,2]"), add_up, seen));
    assert_string_equal(seen, "1;null;");
    assert_false(json_text_each(bytes_of("{}"), add_up, seen));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_grammar_allows_passes_and_nothing_else),
        cmocka_unit_test(it_agrees_with_a_parser_of_others),
        cmocka_unit_test(any_depth_is_read_and_no_text_is_too_long_to_refuse),
        cmocka_unit_test(a_member_is_found_by_its_name_however_it_is_written),
        cmocka_unit_test(a_string_is_decoded_or_it_is_said_why_not),
        cmocka_unit_test(each_value_of_an_array_is_given_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
