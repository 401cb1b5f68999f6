#ifndef WORKER_CLI_HELP_H
#define WORKER_CLI_HELP_H

#include <stddef.h>

#include "worker/cli/command.h"

/* `--help` on standard output, at each of its three levels. */
void help_program(const struct command *const groups[], size_t n);
void help_group(const struct command *group);
void help_command(const struct command *command);

/* "connection" of "connection add"; its length. */
size_t help_group_word(const struct command *group);

#endif
