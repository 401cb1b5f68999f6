#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/cli/command_lookup.h"

static const struct command runs[] = { { .words = "runs list" }, { .words = "runs show" }, { 0 } };
static const struct command publish[] = { { .words = "publish" }, { 0 } };
static const struct command *const groups[] = { runs, publish };
static const struct command_table table = { groups, 2 };

static void a_command_is_found_by_its_words_and_the_rest_is_its_own(void **state)
{
    static const struct {
        const char *argv[3];
        size_t n;
        const struct command *command;
        size_t n_words;
    } cases[] = {
        { { "runs", "list", "--json" }, 3, &runs[0], 2 },
        { { "runs", "show", "list" }, 3, &runs[1], 2 },
        { { "publish", "runs" }, 2, &publish[0], 1 },
        { { "publish" }, 1, &publish[0], 1 },
        { { "runs" }, 1, NULL, 0 },
        { { "runs", "lis" }, 2, NULL, 0 },
        { { "runs", "listing" }, 2, NULL, 0 },
        { { "list", "runs" }, 2, NULL, 0 },
        { { "" }, 1, NULL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n_words = 99;
        char *argv[3];

        for (size_t k = 0; k < 3; k++)
            argv[k] = (char *)(uintptr_t)cases[i].argv[k];
        assert_ptr_equal(command_lookup(&table, cases[i].n, argv, &n_words), cases[i].command);
        assert_int_equal(n_words, cases[i].n_words);
    }
}

static void a_group_is_the_first_word_of_commands_with_two(void **state)
{
    (void)state;
    assert_ptr_equal(command_lookup_group(&table, "runs"), runs);
    assert_null(command_lookup_group(&table, "publish")); /* it is a command itself */
    assert_null(command_lookup_group(&table, "run"));
    assert_null(command_lookup_group(&table, ""));
}

static void what_is_unknown_is_said_with_what_may_have_been_meant(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(command_lookup_unknown(&table, "publsh", &err));
    assert_string_equal(err.text, "there is no command publsh: did you mean publish?");
    assert_false(command_lookup_unknown(&table, "elephant", &err));
    assert_string_equal(err.text, "there is no command elephant");
    assert_false(command_lookup_alone(runs, NULL, &err));
    assert_string_equal(err.text, "missing subcommand of runs");
    assert_false(command_lookup_alone(runs, "lst", &err));
    assert_string_equal(err.text, "there is no command runs lst");
    assert_int_equal(err.kind, ERROR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_found_by_its_words_and_the_rest_is_its_own),
        cmocka_unit_test(a_group_is_the_first_word_of_commands_with_two),
        cmocka_unit_test(what_is_unknown_is_said_with_what_may_have_been_meant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
