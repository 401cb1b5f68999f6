#ifndef WORKER_ADMIN_SETUP_H
#define WORKER_ADMIN_SETUP_H

#include "worker/cli/command.h"

/* migrate, keygen, check */
extern const struct command setup_commands[];

/* `check`; setup's other commands are static. As command.run. */
bool check_run(struct context *context, struct error *err);

#endif
