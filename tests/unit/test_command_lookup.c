#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "worker/cli/command_lookup.h"

static const struct command runs[] = { { .words = "runs list" }, { .words = "runs show" }, { 0 } };
static const struct command publish[] = { { .words = "publish" }, { 0 } };
static const struct command *const groups[] = { runs, publish };
static const struct command_table table = { groups, 2 };

/* Cuts the line at its blanks; how many words there are. */
static size_t split(char *line, char *argv[4])
{
    size_t n = 1;

    argv[0] = line;
    for (; *line; line++)
        if (*line == ' ') {
            *line = '\0';
            argv[n++] = line + 1;
        }
    return n;
}

static void a_command_is_found_by_its_words_and_the_rest_is_its_own(void **state)
{
    static const struct {
        const char *line;
        const struct command *command;
        size_t n_words;
    } cases[] = {
        { "runs list --json", &runs[0], 2 },
        { "runs show list", &runs[1], 2 },
        { "publish runs", &publish[0], 1 },
        { "publish", &publish[0], 1 },
        { "runs", NULL, 0 },
        { "runs lis", NULL, 0 },
        { "runs listing", NULL, 0 },
        { "list runs", NULL, 0 },
        { "", NULL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n_words = 99;
        char line[64], *argv[4];

        (void)snprintf(line, sizeof line, "%s", cases[i].line);
        size_t n = split(line, argv);
        assert_ptr_equal(command_lookup(&table, n, argv, &n_words), cases[i].command);
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
