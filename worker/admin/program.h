#ifndef WORKER_ADMIN_PROGRAM_H
#define WORKER_ADMIN_PROGRAM_H

#include <stddef.h>

#include "worker/cli/command_lookup.h"

/*
 * The program: looks up the command that its words name, and runs or explains it. Exit
 * codes: worker/cli/exit_status.h.
 */

/* A library in use, and the function that returns its version. */
struct component {
    const char *name;
    const char *(*version)(void);
};

struct program {
    struct command_table commands;
    const struct component *components;
    size_t n_components;
};

/* The whole program: returns its exit code. Prints errors on standard error. */
int program_main(const struct program *program, int argc, char *argv[]);

#endif
