#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "worker/klaviyo/detail_mask.h"

#define OBJECT(values) "{\"type\":\"profile\",\"attributes\":{" values "}}"
#define PROPERTIES(values) OBJECT("\"email\":\"x@shop.example\",\"properties\":{" values "}")

static void what_may_be_somebodys_is_masked_and_nothing_else(void **state)
{
    static const struct {
        const char *text, *objects, *masked;
    } cases[] = {
        { "", "", "" },
        { "Conflict with an import in progress.", "", "Conflict with an import in progress." },
        /* by the text alone */
        { "No profile ada@shop.example here", "", "No profile *** here" },
        { "user_3%40x is (ada@shop.example), so", "", "*** is *** so" },
        { "Number +44 20 7946, code A1b given", "", "Number *** code *** given" },
        { "The name \"Ada King\" is taken", "", "The name *** is taken" },
        { "The name 'O'Brien' isn't allowed", "", "The name *** isn't allowed" },
        { "The profiles' name `x`.", "", "The profiles' name ***." },
        { "An \"open quote goes on", "", "An ***" },
        { "The name 'is cut", "", "The name ***" },
        { "The name \xE2\x80\x9C"
          "Ada King\xE2\x80\x9D is taken",
          "", "The name ***" },
        { "One\ttwo\r\n\x1B[31m three \x7F four", "", "One two *** three four" },
        /* by what was sent */
        { "First name Ada is not allowed", OBJECT("\"first_name\":\"ada\""),
          "First name *** is not allowed" },
        { "ADA! ada's adage Adam", OBJECT("\"first_name\":\"Ada\""), "***! ***'s adage Adam" },
        { "first_name King-Noel: no", OBJECT("\"last_name\":\"Countess Noel\""),
          "first_name King-***: no" },
        { "the email is not valid", OBJECT("\"email\":\"valid@shop.example\""),
          "the email is not ***" },
        { "van der Berg", PROPERTIES("\"n\":\"VAN_DER_BERG\""), "***" },
        { "profile type properties tier", PROPERTIES("\"tier\":\"gold\""),
          "profile type properties tier" },
        { "a tier of gold or lead", PROPERTIES("\"tier\":[\"tin\",[\"gold\"]]"),
          "a tier of *** or lead" },
        { "a street of zinc", PROPERTIES("\"home\":{\"street\":\"zinc\"}"), "a *** of ***" },
        { "is it true or null", PROPERTIES("\"vip\":true"), "is it *** or null" },
        { "ada bob cy", PROPERTIES("\"a\":\"x\\nada\\tbob\\\"cy\""), "***" },
        { "Ada Bob", PROPERTIES("\"a\":\"\\u0041da\\u00e9bob\""), "***" },
        { "Ada ller", PROPERTIES("\"a\":\"Ada\xE2\x80\x99s M\xC3\xBCller\""), "***" },
        { "Ada and Bob", OBJECT("\"x\":\"ada\"") ",\n" OBJECT("\"x\":\"bob\""), "*** and ***" },
        { "Ada and Bob", "{\"type\":\"profile\",\"attributes\":{\"x\":\"ada and", "*** Bob" },
        { "Ada", "\"ada\" ]]}} {{\"x\" : \"ada\\", "***" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[256];
        bool whole =
            detail_mask(out, sizeof out, cases[i].text, cases[i].objects, strlen(cases[i].objects));

        assert_string_equal(out, cases[i].masked);
        assert_int_equal(whole, strstr(out, DETAIL_MASK_MARK) == NULL);
    }
}

static void it_ends_with_a_whole_word(void **state)
{
    static const char text[] = "Adapters are not allowed";
    char out[sizeof text];

    (void)state;
    for (size_t size = 1; size <= sizeof text; size++) {
        bool whole = detail_mask(out, size, text, NULL, 0);
        size_t n = strlen(out);

        assert_true(n < size);
        assert_memory_equal(out, text, n);
        assert_true(text[n] == '\0' || n == 0 || text[n] == ' ');
        assert_int_equal(whole, text[n] == '\0');
    }
}

static void add(char *out, size_t size, const char *piece)
{
    size_t n = strlen(out);

    assert_true(strlen(piece) < size - n);
    (void)snprintf(out + n, size - n, "%s", piece);
}

/* A part of a name is not the name, and would not be found. */
static void the_last_word_of_a_text_that_was_cut_is_masked(void **state)
{
    static const char object[] = OBJECT("\"x\":\"Lovelace\"");
    char text[2000] = "", out[2000];

    (void)state;
    while (strlen(text) < 1015)
        add(text, sizeof text, "word ");
    add(text, sizeof text, "Lovelace");
    for (size_t n = 1018; n <= 1023; n++) {
        char cut[2000];

        (void)snprintf(cut, sizeof cut, "%.*s", (int)n, text);
        assert_int_equal(detail_mask(out, sizeof out, cut, object, sizeof object - 1), n < 1021);
        assert_int_equal(strstr(out, "Lov") != NULL, n < 1021);
    }
    add(text, sizeof text, " and more and more");
    assert_false(detail_mask(out, sizeof out, text, object, sizeof object - 1));
    assert_null(strstr(out, "Lov"));
    assert_true(strlen(out) <= DETAIL_MASK_MAX_BYTES);
}

/* ---- at random: against jansson and a walk ---- */

static unsigned seed = 1;

static unsigned below(unsigned n)
{
    seed = seed * 1103515245U + 12345U;
    return (seed >> 16) % n;
}

static const char *const pieces[] = { "ada",  "Bob", "CY",       "dora", "Eve",  "x",
                                      "long", "na",  "\xC3\xA9", "7",    "null", "true" };
static const char *const between[] = { " ", "-", "_", ".", "'", "\"", "\n", "\\", "/", "@", "" };

static void random_text(char *out, size_t size, unsigned n)
{
    out[0] = '\0';
    for (unsigned i = 0; i < n; i++) {
        add(out, size, pieces[below(sizeof pieces / sizeof pieces[0])]);
        if (below(3) > 0)
            add(out, size, between[below(2) ? 0 : below(sizeof between / sizeof between[0])]);
    }
}

static json_t *random_value(int depth)
{
    char text[256], name[256];

    random_text(text, sizeof text, below(5));
    random_text(name, sizeof name, 1 + below(2));
    switch (depth > 3 ? 0 : below(5)) {
    case 1:
        return json_pack("[o, o]", random_value(depth + 1), random_value(depth + 1));
    case 2:
        return json_pack("{s:o}", name, random_value(depth + 1));
    case 3:
        return json_boolean(below(2));
    default:
        return json_string(text);
    }
}

static char lower(char c)
{
    return (char)(tolower)((unsigned char)c); /* not the macro, which is nested deeply */
}

/* Words that must not remain, with a blank before and behind each. */
static void note_words(struct strbuf *words, const char *text)
{
    strbuf_add_str(words, " ");
    for (; *text; text++) {
        char c = lower(*text);
        strbuf_add(words, isascii((unsigned char)c) && isalnum((unsigned char)c) ? &c : " ", 1);
    }
    strbuf_add_str(words, " ");
}

static void note_values(struct strbuf *words, json_t *value)
{
    const char *name;
    json_t *member;
    size_t i;

    if (json_is_string(value))
        note_words(words, json_string_value(value));
    else if (json_is_boolean(value))
        note_words(words, json_is_true(value) ? "true" : "false");
    json_array_foreach(value, i, member)
        note_values(words, member);
    json_object_foreach(value, name, member) {
        note_words(words, name);
        note_values(words, member);
    }
}

static void assert_none_remains(const char *masked, const char *words, const char *text)
{
    char copy[2100], *rest = copy;

    (void)snprintf(copy, sizeof copy, "%s", masked);
    for (char *word; (word = strtok_r(rest, " *-_.'\"\\/(),", &rest));) {
        char looked_for[300];

        for (char *p = word; *p; p++) {
            assert_true(isascii((unsigned char)*p) && isprint((unsigned char)*p));
            *p = lower(*p);
        }
        (void)snprintf(looked_for, sizeof looked_for, " %s ", word);
        if (strstr(words, looked_for))
            fail_msg("%s remains in %s of %s", word, masked, text);
        assert_null(strpbrk(word, "@0123456789"));
    }
}

static void no_word_of_a_value_ever_remains(void **state)
{
    enum { ROUNDS = 20000 };
    unsigned kept = 0;

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        json_t *value = random_value(0);
        char text[512], out[512];
        CLEANUP(strbuf_release) struct strbuf words = STRBUF_INIT(100000);
        json_t *object = json_pack("{s:s, s:{s:s, s:{s:O}}}", "type", "profile", "attributes",
                                   "email", "x@shop.example", "properties", "p", value);
        char *body = json_dumps(object, below(2) ? JSON_ENSURE_ASCII : JSON_INDENT(1));

        assert_non_null(body);
        random_text(text, sizeof text, below(12));
        note_values(&words, value);
        note_words(&words, "x shop example");
        (void)detail_mask(out, below(4) ? sizeof out : 1 + below(60), text, body, strlen(body));
        assert_none_remains(out, words.data, text);
        kept += strlen(out) > 3;
        free(body);
        json_decref(object);
        json_decref(value);
    }
    assert_in_range(kept, ROUNDS / 10, ROUNDS);
}

/* Of a request as large as any, and one pass over it. */
static void five_megabytes_are_looked_through(void **state)
{
    enum { BODY = 5000000 };
    char *body = malloc(BODY + 1), out[64];
    static const char row[] = OBJECT("\"first_name\":\"Ada\",\"last_name\":\"King\"") ",\n";

    (void)state;
    assert_non_null(body);
    for (size_t n = 0; n < BODY; n += sizeof row - 1)
        memcpy(body + n, row, n + sizeof row - 1 <= BODY ? sizeof row - 1 : BODY - n);
    assert_false(detail_mask(out, sizeof out, "Neither Ada nor Bob", body, BODY));
    assert_string_equal(out, "Neither *** nor Bob");
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_be_somebodys_is_masked_and_nothing_else),
        cmocka_unit_test(it_ends_with_a_whole_word),
        cmocka_unit_test(the_last_word_of_a_text_that_was_cut_is_masked),
        cmocka_unit_test(no_word_of_a_value_ever_remains),
        cmocka_unit_test(five_megabytes_are_looked_through),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
