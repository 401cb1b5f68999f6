#ifndef WORKER_RUN_COMMAND_H
#define WORKER_RUN_COMMAND_H

#include "worker/admin/command.h"

/* run: the service itself. */
extern const struct command run_commands[];

#endif
