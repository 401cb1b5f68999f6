#ifndef WORKER_ADMIN_PUBLISH_H
#define WORKER_ADMIN_PUBLISH_H

#include "worker/admin/command.h"

/* publish */
extern const struct command publish_commands[];

#endif
