#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/simulator/filter.h"
#include "tests/simulator/page.h"

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static void a_condition_has_an_operator_a_field_and_values(void **state)
{
    CLEANUP(filter_release) struct filter filter = { 0 };
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(filter_parse(&filter, "any(email,[\"a+1@x.example\",\"q\\\"\\\\\"])", &err));
    assert_int_equal(filter.n, 1);
    assert_string_equal(filter.conditions[0].op, "any");
    assert_string_equal(filter.conditions[0].field, "email");
    assert_int_equal(filter.conditions[0].n, 2);
    assert_string_equal(filter.conditions[0].values[0], "a+1@x.example");
    assert_string_equal(filter.conditions[0].values[1], "q\"\\");
    assert_true(condition_names(&filter.conditions[0], "a+1@x.example"));
    assert_false(condition_names(&filter.conditions[0], "a 1@x.example"));
}

static void conditions_are_joined_by_comma_or_and(void **state)
{
    static const char *const texts[] = {
        "equals(status,\"complete\"),greater-than(created,2026-01-01T00:00:00Z)",
        "and(equals(status,\"complete\"),greater-than(created,2026-01-01T00:00:00Z))",
    };

    (void)state;
    for (size_t i = 0; i < LEN(texts); i++) {
        CLEANUP(filter_release) struct filter filter = { 0 };
        struct error err = ERROR_INIT;

        assert_true(filter_parse(&filter, texts[i], &err));
        assert_int_equal(filter.n, 2);
        assert_string_equal(filter.conditions[1].values[0], "2026-01-01T00:00:00Z");
    }
}

static void what_is_not_a_filter_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "email",
        "equals(email)",
        "equals(email,)",
        "equals(email,a@x.example)",
        "equals(email,\"a@x.example)",
        "equals(email,\"a\"",
        "any(email,[\"a\",])",
        "any(email,[\"a\"",
        "any(email,[])",
        "equals(email,\"a\"),",
        "equals(email,\"a\") or equals(email,\"b\")",
        "and(equals(email,\"a\")",
        "equals(email,\"a\")x",
    };

    (void)state;
    for (size_t i = 0; i < LEN(texts); i++) {
        struct filter filter;
        struct error err = ERROR_INIT;

        if (filter_parse(&filter, texts[i], &err))
            fail_msg("accepted: %s", texts[i]);
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_int_equal(filter.n, 0);
    }
}

static void a_cursor_comes_back_as_it_went(void **state)
{
    static const int64_t numbers[] = { 0, 1, -1, 1795509034, INT64_MAX, INT64_MIN };

    (void)state;
    for (size_t i = 0; i < LEN(numbers); i++) {
        char cursor[PAGE_CURSOR_BYTES];
        int64_t key, number;

        page_cursor_format(cursor, numbers[i], 42);
        assert_true(page_cursor_parse(cursor, &key, &number));
        assert_int_equal(key, numbers[i]);
        assert_int_equal(number, 42);
    }
}

static void a_made_up_cursor_is_refused(void **state)
{
    static const char *const cursors[] = { "",         "x",
                                           "bmV4dDo6", "bmV4dDo6MTo6",
                                           "!!!!",     "bmV4dDo6YTo6Yg" };
    int64_t key, number;

    (void)state;
    for (size_t i = 0; i < LEN(cursors); i++)
        assert_false(page_cursor_parse(cursors[i], &key, &number));
}

static void page_sizes_have_bounds(void **state)
{
    static const struct {
        const char *size;
        bool ok;
        size_t want;
    } cases[] = { { NULL, true, 20 }, { "1", true, 1 },    { "100", true, 100 },
                  { "0", false, 0 },  { "101", false, 0 }, { "x", false, 0 } };

    (void)state;
    for (size_t i = 0; i < LEN(cases); i++) {
        struct request request = { .args = { { "page[size]", cases[i].size } }, .n_args = 1 };
        struct page_limits limits = { .fallback = 20, .max = 100 };
        CLEANUP(answer_release) struct answer answer;
        struct page page;

        answer_init(&answer);
        request.n_args = cases[i].size != NULL;
        assert_int_equal(page_parse(&page, &request, limits, &answer), cases[i].ok);
        assert_int_equal(answer.status, cases[i].ok ? 0 : 400);
        assert_int_equal(page.size, cases[i].want);
    }
}

static void the_next_link_is_absolute_and_keeps_the_other_parameters(void **state)
{
    struct request request = {
        .host = "127.0.0.1:1",
        .target = "/api/lists/L/profiles?page[size]=1&filter=a%20b",
        .args = { { "page[size]", "1" }, { "filter", "a b" }, { "page[cursor]", "old" } },
        .n_args = 3,
    };
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(4096);

    (void)state;
    page_add_links(&out, &request, true, 0, 7);
    assert_string_equal(
        out.data,
        "\"links\":{\"self\":\"http://127.0.0.1:1/api/lists/L/profiles?page[size]=1&filter=a%20b\","
        "\"next\":\"http://127.0.0.1:1/api/lists/L/profiles?page%5Bcursor%5D=bmV4dDo6MDo6Nw"
        "&page%5Bsize%5D=1&filter=a%20b\",\"prev\":null}");
    strbuf_rewind(&out, 0);
    page_add_links(&out, &request, false, 0, 7);
    assert_non_null(strstr(out.data, "\"next\":null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_condition_has_an_operator_a_field_and_values),
        cmocka_unit_test(conditions_are_joined_by_comma_or_and),
        cmocka_unit_test(what_is_not_a_filter_is_refused),
        cmocka_unit_test(a_cursor_comes_back_as_it_went),
        cmocka_unit_test(a_made_up_cursor_is_refused),
        cmocka_unit_test(page_sizes_have_bounds),
        cmocka_unit_test(the_next_link_is_absolute_and_keeps_the_other_parameters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
