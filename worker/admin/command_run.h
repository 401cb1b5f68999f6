#ifndef WORKER_ADMIN_COMMAND_RUN_H
#define WORKER_ADMIN_COMMAND_RUN_H

#include <stddef.h>

#include "worker/cli/command.h"

/*
 * Runs a command: reads its arguments, gives it the settings and the database
 * connection that its row asks for, and says what went wrong. The one place that
 * prints the errors of commands.
 *
 * argv: the n words after the command's own. Returns the exit code.
 */
int command_run(const struct command *command, size_t n, char *const argv[]);

/* For commands that open it themselves; a database that is not migrated is an error. */
bool context_open_database(struct context *context, struct error *err) MUST_USE;

/* Safe where none is open. */
void context_close_database(struct context *context);

#endif
