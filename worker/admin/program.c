#include "worker/admin/program.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>

#include "common/log.h"
#include "common/secret.h"
#include "common/version.h"
#include "worker/cli/arguments.h"
#include "worker/cli/help.h"
#include "worker/cli/nearest.h"
#include "worker/cli/print.h"
#include "worker/settings/env_file.h"
#include "worker/store/database_url.h"
#include "worker/store/db.h"
#include "worker/store/migration.h"

enum { EXIT_USAGE = 2, EXIT_AGAIN = EX_TEMPFAIL };

static int report(const struct error *err)
{
    print_problem("klaviyo-worker: ", err->text);
    return err->kind == ERROR_RETRY ? EXIT_AGAIN : EXIT_FAILURE;
}

/* All that is wrong, one line per problem. */
static int report_settings(const struct error *err)
{
    print_problems("klaviyo-worker: ", err->text);
    return EXIT_USAGE;
}

static int report_usage(const struct error *err, const char *words)
{
    struct error whole = *err;

    (void)error_set(&whole, ERROR_INPUT, "%s (see klaviyo-worker %s%s--help)", err->text, words,
                    *words ? " " : "");
    (void)report(&whole);
    return EXIT_USAGE;
}

/* -- finding the command -- */

/* How many words of argv are the command's name; 0: it is another one. */
static size_t words_matched(const struct command *command, size_t n, char *const argv[])
{
    const char *rest = command->words;

    for (size_t i = 0; i < n; i++) {
        size_t length = strcspn(rest, " ");
        if (strlen(argv[i]) != length || memcmp(argv[i], rest, length) != 0)
            return 0;
        if (rest[length] == '\0')
            return i + 1;
        rest += length + 1;
    }
    return 0;
}

static const struct command *find_command(const struct program *p, size_t n, char *const argv[],
                                          size_t *n_words)
{
    for (size_t i = 0; i < p->n_groups; i++)
        for (const struct command *c = p->groups[i]; c->words; c++) {
            *n_words = words_matched(c, n, argv);
            if (*n_words > 0)
                return c;
        }
    return NULL;
}

/* The group of which word is the first one: "connection" without a command. */
static const struct command *find_group(const struct program *p, const char *word)
{
    for (size_t i = 0; i < p->n_groups; i++) {
        const struct command *group = p->groups[i];
        size_t n = help_group_word(group);
        if (group->words[n] && strlen(word) == n && memcmp(group->words, word, n) == 0)
            return group;
    }
    return NULL;
}

static int unknown_command(const struct program *p, const char *word)
{
    struct nearest nearest = NEAREST_INIT(word);
    struct error err = ERROR_INIT;
    char words[32][32];
    size_t n = 0;

    for (size_t i = 0; i < p->n_groups; i++)
        for (const struct command *c = p->groups[i]; c->words && n < 32; c++) {
            (void)snprintf(words[n], sizeof words[n], "%.*s", (int)help_group_word(c), c->words);
            nearest_offer(&nearest, words[n++]);
        }
    if (nearest.best)
        (void)error_set(&err, ERROR_INPUT, "there is no command %s: did you mean %s?", word,
                        nearest.best);
    else
        (void)error_set(&err, ERROR_INPUT, "there is no command %s", word);
    return report_usage(&err, "");
}

static int group_alone(const struct command *group, const char *second)
{
    struct error err = ERROR_INIT;
    char word[32];

    (void)snprintf(word, sizeof word, "%.*s", (int)help_group_word(group), group->words);
    if (!second)
        (void)error_set(&err, ERROR_INPUT, "missing subcommand of %s", word);
    else
        (void)error_set(&err, ERROR_INPUT, "there is no command %s %s", word, second);
    return report_usage(&err, word);
}

/* -- running it -- */

static bool connect(struct context *context, struct error *err)
{
    const struct db_options how = { .url = context->settings->database_url,
                                    .name = "klaviyo-worker admin" };

    return db_open(&context->db, &how, err);
}

bool context_open_database(struct context *context, struct error *err)
{
    return connect(context, err) && migration_check(context->db, err);
}

void context_close_database(struct context *context)
{
    db_free(context->db);
    context->db = NULL;
}

static bool give_database(struct context *context, enum command_needs needs, struct error *err)
{
    switch (needs) {
    case NEEDS_NOTHING:
    case NEEDS_SETTINGS:
        return true;
    case NEEDS_SERVER:
        return connect(context, err);
    case NEEDS_DATABASE:
        break;
    }
    return context_open_database(context, err);
}

static bool run_with_database(struct context *context, const struct arguments *arguments,
                              struct error *err)
{
    bool ok = give_database(context, arguments->command->needs, err) &&
              arguments->command->run(context, arguments, err);

    context_close_database(context);
    return ok;
}

/* What a command has to say it prints; its libraries' log is for those who ask for it. */
static void quiet_log(const struct settings *settings)
{
    bool wanted = settings->log_level == LOG_LEVEL_DEBUG;

    log_init(wanted ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, settings->log_format);
}

static bool run_with_settings(struct context *context, const struct arguments *arguments,
                              struct error *err)
{
    struct settings settings;

    if (!secret_library_init(err))
        return false;
    if (!env_folder_load(env_folder_of_package(), err) ||
        !settings_load(&settings, database_url_check, err)) {
        context->wrong_settings = true;
        return false;
    }
    context->settings = &settings;
    quiet_log(&settings);
    return run_with_database(context, arguments, err);
}

/* PostgreSQL says what was refused; who may do it is the command's to say. */
static void say_who_may(const struct command *command, struct error *err)
{
    struct error refused = *err;

    if (command->who && strstr(refused.text, "(SQLSTATE 42501)"))
        (void)error_set(err, refused.kind, "%s: connect as a member of %s", refused.text,
                        command->who);
}

static int run_command(const struct command *command, size_t n, char *const argv[])
{
    struct context context = { .settings = NULL };
    struct error err = ERROR_INIT;
    struct arguments arguments;

    if (!arguments_parse(&arguments, command, n, (const char *const *)argv, &err))
        return report_usage(&err, command->words);
    bool ok = command->needs == NEEDS_NOTHING ? command->run(&context, &arguments, &err)
                                              : run_with_settings(&context, &arguments, &err);
    arguments_release(&arguments);
    if (ok)
        return EXIT_SUCCESS;
    if (context.wrong_usage)
        return report_usage(&err, command->words);
    say_who_may(command, &err);
    return context.wrong_settings ? report_settings(&err) : report(&err);
}

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

    (void)error_set(&err, ERROR_INPUT, "a command is needed");
    return report_usage(&err, "");
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
    if (n == 0) {
        help_program(program->groups, program->n_groups);
        return EXIT_SUCCESS;
    }

    size_t n_words = 0;
    const struct command *command = find_command(program, n, argv, &n_words);
    const struct command *group = find_group(program, argv[0]);

    if (strcmp(argv[0], "--version") == 0)
        print_version(program);
    else if (command && help)
        help_command(command);
    else if (command)
        return run_command(command, n - n_words, argv + n_words);
    else if (group && help)
        help_group(group);
    else if (group)
        return group_alone(group, n > 1 ? argv[1] : NULL);
    else if (help && argv[0][0] == '-')
        help_program(program->groups, program->n_groups);
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
            return report_settings(&err);
        n -= n_words;
        argv += n_words;
    }
    if (n_words == 0)
        return dispatch(program, n, argv);
    (void)error_set(&err, ERROR_INPUT, "--env-file needs a value: FILE");
    return report_usage(&err, "");
}

/* What could not be written was not done. */
int program_main(const struct program *program, int argc, char *argv[])
{
    int status = run_program(program, argc > 0 ? (size_t)argc - 1 : 0, argv + 1);
    struct error err = ERROR_INIT;

    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    (void)error_errno(&err, ERROR_INPUT, "cannot write to standard output");
    return status == EXIT_SUCCESS ? report(&err) : status;
}
