#ifndef WORKER_ADMIN_PROGRAM_H
#define WORKER_ADMIN_PROGRAM_H

#include <stddef.h>

#include "worker/cli/command.h"

/*
 * The program: finds the command that was asked for, gives it what it needs,
 * and is the one place that prints errors.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later.
 */
/* A library in use, and who can tell its version. */
struct component {
    const char *name;
    const char *(*version)(void);
};

struct program {
    const struct command *const *groups;
    size_t n_groups;
    const struct component *components;
    size_t n_components;
};

/* For commands that open it themselves; a database that is not migrated is an error. */
bool context_open_database(struct context *context, struct error *err) MUST_USE;

/* Safe where none is open. */
void context_close_database(struct context *context);

/* The whole program: returns its exit code. Prints errors on standard error. */
int program_main(const struct program *program, int argc, char *argv[]);

#endif
