#ifndef WORKER_ADMIN_PROGRAM_H
#define WORKER_ADMIN_PROGRAM_H

#include <stddef.h>

#include "worker/admin/command.h"
#include "worker/admin/version.h"

/*
 * The program: finds the command that was asked for, gives it what it needs,
 * and is the one place that prints errors.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later.
 */
struct program {
    const struct command *const *groups;
    size_t n_groups;
    const struct component *components;
    size_t n_components;
};

int program_main(const struct program *program, int argc, char *argv[]);

#endif
