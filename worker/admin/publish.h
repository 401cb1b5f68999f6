#ifndef WORKER_ADMIN_PUBLISH_H
#define WORKER_ADMIN_PUBLISH_H

#include "worker/cli/command.h"

/* publish */
extern const struct command publish_commands[];

#endif
