#include "worker/admin/command_run.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/secret.h"
#include "worker/cli/arguments.h"
#include "worker/cli/exit_status.h"
#include "worker/settings/env_file.h"
#include "worker/store/database_url.h"
#include "worker/store/db.h"
#include "worker/store/migration.h"

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

static bool run_with_database(struct context *context, struct error *err)
{
    const struct command *command = context->arguments->command;
    bool ok = give_database(context, command->needs, err) && command->run(context, err);

    context_close_database(context);
    return ok;
}

/* A command prints its messages; the log of its libraries is shown on demand only. */
static void quiet_log(const struct settings *settings)
{
    bool wanted = settings->log_level == LOG_LEVEL_DEBUG;

    log_init(wanted ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, settings->log_format);
}

static settings_file_check *const *file_checks(const struct arguments *arguments)
{
    const struct command *command = arguments->command;

    return command->checks_option && !arguments_flag(arguments, command->checks_option)
               ? NULL
               : command->checks;
}

/* settings: room for them, which lives as long as the context. */
static bool run_with_settings(struct context *context, struct settings *settings, struct error *err)
{
    if (!secret_library_init(err))
        return false;
    const struct settings_checks checks = { database_url_check, file_checks(context->arguments) };
    if (!env_folder_load(env_folder_of_package(), err) || !settings_load(settings, &checks, err)) {
        context->wrong_settings = true;
        return false;
    }
    context->settings = settings;
    quiet_log(settings);
    return run_with_database(context, err);
}

/* With --direct a command does the workers' part itself. */
static const char *who_may(const struct arguments *arguments)
{
    for (size_t i = 0; i < arguments->n_given; i++)
        if (strcmp(arguments->given[i].option->name, "--direct") == 0)
            return WORKERS;
    return arguments->command->who;
}

/* PostgreSQL says what was refused; the command says which role may do it. */
static void say_who_may(const struct arguments *arguments, struct error *err)
{
    struct error refused = *err;
    const char *who = who_may(arguments);

    if (who && strstr(refused.text, "(SQLSTATE 42501)"))
        (void)error_set(err, refused.kind, "%s: this requires role %s", refused.text, who);
}

int command_run(const struct command *command, size_t n, char *const argv[])
{
    struct arguments arguments;
    struct context context = { .arguments = &arguments };
    struct settings settings;
    struct error err = ERROR_INIT;

    if (!arguments_parse(&arguments, command, n, (const char *const *)argv, &err))
        return exit_status_of_usage(&err, command->words);
    bool ok = command->needs == NEEDS_NOTHING ? command->run(&context, &err)
                                              : run_with_settings(&context, &settings, &err);
    if (!ok)
        say_who_may(&arguments, &err);
    arguments_release(&arguments);
    if (ok)
        return EXIT_SUCCESS;
    if (context.wrong_usage)
        return exit_status_of_usage(&err, command->words);
    return context.wrong_settings ? exit_status_of_settings(&err) : exit_status_of_failure(&err);
}
