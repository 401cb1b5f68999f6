#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/nearest.h"
#include "worker/cli/arguments.h"

static const struct option_spec options[] = {
    { "--list", OPTION_VALUE, true, "LIST_ID", "the list" },
    { "--segment", OPTION_LIST, false, "SEGMENT", "a segment" },
    { "--limit", OPTION_VALUE, false, "N", "how many" },
    { "--json", OPTION_FLAG, false, NULL, "JSON" },
    OPTIONS_END,
};

static const struct command command = { .words = "thing add",
                                        .operands = "NAME [OTHER]",
                                        .min_operands = 1,
                                        .max_operands = 2,
                                        .options = options };

enum { WORDS_MAX = 16 };

/* Splits at blanks; a word of one tilde stands for an empty one. */
static size_t split(char *text, const char *words[])
{
    size_t n = 0;

    for (char *at = text; *at && n < WORDS_MAX;) {
        size_t length = strcspn(at, " ");
        char *next = at + length + (at[length] == ' ');
        at[length] = '\0';
        words[n++] = strcmp(at, "~") == 0 ? at + 1 : at;
        at = next;
    }
    return n;
}

static bool parse(const char *line, char *text, size_t size, struct arguments *arguments,
                  struct error *err)
{
    static const char *words[WORDS_MAX];

    (void)snprintf(text, size, "%s", line);
    return arguments_parse(arguments, &command, split(text, words), words, err);
}

static void operands_and_options_may_be_mixed(void **state)
{
    CLEANUP(arguments_release) struct arguments a = { 0 };
    struct error err = ERROR_INIT;
    char text[128];
    size_t at = 0;

    (void)state;
    assert_true(parse("--segment s1 first --list=L1 --json --segment=s=2 - --segment ~", text,
                      sizeof text, &a, &err));
    assert_int_equal(a.n_operands, 2);
    assert_string_equal(a.operands[0], "first");
    assert_string_equal(a.operands[1], "-");
    assert_string_equal(arguments_value(&a, "--list"), "L1");
    assert_true(arguments_flag(&a, "--json"));
    assert_string_equal(arguments_next(&a, "--segment", &at), "s1");
    assert_string_equal(arguments_next(&a, "--segment", &at), "s=2");
    assert_string_equal(arguments_next(&a, "--segment", &at), "");
    assert_null(arguments_next(&a, "--segment", &at));
    assert_null(arguments_value(&a, "--limit"));
}

static void behind_two_dashes_everything_is_an_operand(void **state)
{
    CLEANUP(arguments_release) struct arguments a = { 0 };
    struct error err = ERROR_INIT;
    char text[128];

    (void)state;
    assert_true(parse("--list - -- --json --list", text, sizeof text, &a, &err));
    assert_int_equal(a.n_operands, 2);
    assert_string_equal(a.operands[0], "--json");
    assert_false(arguments_flag(&a, "--json"));
    assert_string_equal(arguments_value(&a, "--list"), "-");
}

static void wrong_usage_is_told_in_one_sentence(void **state)
{
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        { "", "thing add needs NAME [OTHER]" },
        { "--list L1", "thing add needs NAME [OTHER]" },
        { "a", "thing add needs --list LIST_ID: the list" },
        { "a b c --list L1", "\"c\" is one word too many for thing add" },
        { "a --list", "--list needs a value: LIST_ID" },
        { "a --list --json", "--list needs a value: LIST_ID" },
        { "a --list L1 --list L2", "--list is given twice" },
        { "a --list L1 --json=1", "--json takes no value" },
        { "a --list L1 --jsno", "--jsno is no option of thing add: did you mean --json?" },
        { "a --lst L1", "--lst is no option of thing add: did you mean --list?" },
        { "a --list L1 --frobnicate", "--frobnicate is no option of thing add" },
        { "a -x --list L1", "-x is no option of thing add" },
    };
    char text[128];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arguments a = { .n_operands = 99 };
        struct error err = ERROR_INIT;
        assert_false(parse(cases[i].line, text, sizeof text, &a, &err));
        assert_string_equal(err.text, cases[i].sentence);
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_int_equal(a.n_operands, 99);
    }
}

static void a_number_keeps_to_its_range(void **state)
{
    CLEANUP(arguments_release) struct arguments a = { 0 };
    struct context context = { .arguments = &a };
    struct error err = ERROR_INIT;
    char text[128];
    int64_t limit = 100;

    (void)state;
    assert_true(parse("a --list L1 --limit 7", text, sizeof text, &a, &err));
    assert_true(arguments_number(&context, "--limit", (struct number_range){ 1, 7 }, &limit, &err));
    assert_int_equal(limit, 7);
    assert_false(
        arguments_number(&context, "--limit", (struct number_range){ 1, 6 }, &limit, &err));
    assert_true(context.wrong_usage);
    assert_string_equal(err.text, "--limit is not a whole number from 1 to 6");
    assert_int_equal(limit, 7);
}

static void a_number_that_is_not_given_stays(void **state)
{
    CLEANUP(arguments_release) struct arguments a = { 0 };
    struct context context = { .arguments = &a };
    struct error err = ERROR_INIT;
    char text[128];
    int64_t limit = 100;

    (void)state;
    assert_true(parse("a --list L1", text, sizeof text, &a, &err));
    assert_true(arguments_number(&context, "--limit", (struct number_range){ 1, 7 }, &limit, &err));
    assert_int_equal(limit, 100);
}

static void the_nearest_word_has_the_fewest_changes(void **state)
{
    static const char *const words[] = { "first_name", "last_name", "title", "locale" };
    static const struct {
        const char *typed;
        const char *meant;
    } cases[] = {
        { "firstname", "first_name" },
        { "First_Name", "first_name" },
        { "lastname", "last_name" },
        { "titel", "title" },
        { "local", "locale" },
        { "shoe_size", NULL },
        { "", NULL },
        { "x", NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nearest nearest = NEAREST_INIT(cases[i].typed);
        for (size_t j = 0; j < sizeof words / sizeof words[0]; j++)
            nearest_offer(&nearest, words[j]);
        if (cases[i].meant)
            assert_string_equal(nearest.best, cases[i].meant);
        else
            assert_null(nearest.best);
    }
}

static void a_swap_is_one_change(void **state)
{
    char long_word[200];

    (void)state;
    assert_int_equal(nearest_distance("abc", "acb"), 1);
    assert_int_equal(nearest_distance("abc", "abc"), 0);
    assert_int_equal(nearest_distance("", "abc"), 3);
    memset(long_word, 'a', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    assert_int_equal(nearest_distance(long_word, ""), 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_and_options_may_be_mixed),
        cmocka_unit_test(behind_two_dashes_everything_is_an_operand),
        cmocka_unit_test(wrong_usage_is_told_in_one_sentence),
        cmocka_unit_test(a_number_keeps_to_its_range),
        cmocka_unit_test(a_number_that_is_not_given_stays),
        cmocka_unit_test(the_nearest_word_has_the_fewest_changes),
        cmocka_unit_test(a_swap_is_one_change),
    };
    return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}
