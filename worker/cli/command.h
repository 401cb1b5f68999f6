#ifndef WORKER_CLI_COMMAND_H
#define WORKER_CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/settings/settings.h"

/*
 * A command, as a row of a table: what it is called, what it takes, what it
 * does. Parsing, `--help` and the dispatch are all driven by these rows.
 *
 * A group of commands is an array that ends with a row without words.
 */
enum option_kind {
    OPTION_FLAG,  /* --wait */
    OPTION_VALUE, /* --list LIST_ID, once */
    OPTION_LIST,  /* --segment S, any number of times */
};

struct option_spec {
    const char *name; /* with its dashes; NULL ends the list */
    enum option_kind kind;
    bool required;
    const char *value; /* the value's name in --help; NULL for a flag */
    const char *help;
};

#define OPTIONS_END              \
    {                            \
        NULL, 0, false, NULL, "" \
    }
#define OPTION_JSON                                                                 \
    {                                                                               \
        "--json", OPTION_FLAG, false, NULL, "print JSON on standard output instead" \
    }

enum command_needs {
    NEEDS_NOTHING,
    NEEDS_SETTINGS,
    NEEDS_SERVER,   /* settings and a connection to the database, whatever is in it */
    NEEDS_DATABASE, /* the same, migrated */
};

struct arguments;
struct db;

/* What a command works with; made and released by command_run(). */
struct context {
    const struct arguments *arguments; /* what it was given */
    const struct settings *settings;
    struct db *db;    /* NEEDS_SERVER and NEEDS_DATABASE only */
    bool wrong_usage; /* the failure was one of usage: exit code 2 */
    bool wrong_settings;
};

struct command {
    const char *words;    /* "connection add"; NULL ends a group */
    const char *operands; /* "NAME", as --help shows them */
    size_t min_operands;
    size_t max_operands;
    const struct option_spec *options; /* NULL: none */
    enum command_needs needs;
    settings_file_check *const *checks; /* of files it reads: wrong settings else; NULL: none */
    const char *checks_option;          /* only with this one; NULL: always */
    bool hidden;                        /* for programs: in no --help */
    const char *who;             /* roles whose members may: "klaviyo_admin"; NULL: anybody */
    const char *summary;         /* one line, no full stop */
    const char *details;         /* more for its own --help; NULL: nothing */
    void (*print_details)(void); /* the same where it is generated; NULL: nothing */
    bool (*run)(struct context *context, struct error *err);
};

/* For the rows. */
#define ONE_OPERAND(name) .operands = (name), .min_operands = 1, .max_operands = 1
#define ADMINS "klaviyo_admin"
#define EXPORTERS "klaviyo_admin or klaviyo_contributor"
#define READERS "klaviyo_admin, klaviyo_contributor or klaviyo_viewer"
#define WORKERS "klaviyo_worker"

/* Marks the failure as one of usage; returns false. */
bool wrong_usage(struct context *context, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* One line on stderr; the command continues. */
void warn_user(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
