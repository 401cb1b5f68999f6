#ifndef WORKER_ADMIN_RUN_SERVICE_H
#define WORKER_ADMIN_RUN_SERVICE_H

#include "worker/cli/command.h"

/* run: the service itself. */
extern const struct command run_commands[];

#endif
