#include "worker/admin/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/version.h"
#include "worker/admin/command_run.h"
#include "worker/cli/exit_status.h"
#include "worker/cli/help.h"
#include "worker/cli/print.h"
#include "worker/settings/env_file.h"

static bool asks_for_help(size_t n, char *const argv[])
{
    for (size_t i = 0; i < n && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* `--version`: ours, the git commit, the libraries'. */
static void print_version(const struct program *program)
{
    print_line("klaviyo-worker %s (%s)", version_number(), version_git_commit());
    for (size_t i = 0; i < program->n_components; i++)
        print_line("  %-14s %s", program->components[i].name, program->components[i].version());
}

static int nothing_asked(void)
{
    struct error err = ERROR_INIT;

    (void)error_set(&err, ERROR_INPUT, "missing command");
    return exit_status_of_usage(&err, "");
}

static int unknown_command(const struct program *program, const char *word)
{
    struct error err = ERROR_INIT;

    (void)command_lookup_unknown(&program->commands, word, &err);
    return exit_status_of_usage(&err, "");
}

static int group_alone(const struct command *group, const char *second)
{
    struct error err = ERROR_INIT;
    char word[COMMAND_WORD_BYTES];

    command_lookup_word(group, word);
    (void)command_lookup_alone(group, second, &err);
    return exit_status_of_usage(&err, word);
}

static int help_all(const struct program *program)
{
    help_program(program->commands.groups, program->commands.n_groups);
    return EXIT_SUCCESS;
}

/* `help [COMMAND]` is `[COMMAND] --help`. */
static int dispatch(const struct program *program, size_t n, char *const argv[])
{
    bool help = asks_for_help(n, argv);

    if (n > 0 && strcmp(argv[0], "help") == 0) {
        help = true;
        n--;
        argv++;
    }
    if (n == 0 && !help)
        return nothing_asked();
    if (n == 0)
        return help_all(program);

    size_t n_words = 0;
    const struct command *command = command_lookup(&program->commands, n, argv, &n_words);
    const struct command *group = command_lookup_group(&program->commands, argv[0]);

    if (strcmp(argv[0], "--version") == 0)
        print_version(program);
    else if (command && help)
        help_command(command);
    else if (command)
        return command_run(command, n - n_words, argv + n_words);
    else if (group && help)
        help_group(group);
    else if (group)
        return group_alone(group, n > 1 ? argv[1] : NULL);
    else if (help && argv[0][0] == '-')
        return help_all(program);
    else
        return unknown_command(program, argv[0]);
    return EXIT_SUCCESS;
}

/* The value of --env-file at the front, and how many words it took; NULL: it is not there. */
static const char *env_file_option(size_t n, char *const argv[], size_t *n_words)
{
    static const char option[] = "--env-file";
    size_t length = sizeof option - 1;

    *n_words = 0;
    if (n == 0 || strncmp(argv[0], option, length) != 0)
        return NULL;
    if (argv[0][length] == '=')
        *n_words = 1;
    else if (argv[0][length] == '\0')
        *n_words = 2;
    if (*n_words == 1)
        return argv[0] + length + 1;
    return *n_words == 2 && n > 1 ? argv[1] : NULL;
}

/* Options that stand before the command: files of settings. */
static int run_program(const struct program *program, size_t n, char *const argv[])
{
    struct error err = ERROR_INIT;
    size_t n_words;
    const char *path;

    while ((path = env_file_option(n, argv, &n_words))) {
        if (!env_file_load(path, &err))
            return exit_status_of_settings(&err);
        n -= n_words;
        argv += n_words;
    }
    if (n_words == 0)
        return dispatch(program, n, argv);
    (void)error_set(&err, ERROR_INPUT, "--env-file needs a value: FILE");
    return exit_status_of_usage(&err, "");
}

static bool has_written_all(struct error *err)
{
    if (print_has_left_out())
        return error_set(err, ERROR_RETRY, "out of memory: what was printed is not whole");
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    return error_errno(err, ERROR_INPUT, "cannot write to standard output");
}

/* What could not be written was not done. */
int program_main(const struct program *program, int argc, char *argv[])
{
    int status = run_program(program, argc > 0 ? (size_t)argc - 1 : 0, argv + 1);
    struct error err = ERROR_INIT;

    if (has_written_all(&err) || status != EXIT_SUCCESS)
        return status;
    return exit_status_of_failure(&err);
}
