#ifndef WORKER_ADMIN_AUDIT_H
#define WORKER_ADMIN_AUDIT_H

#include "worker/cli/command.h"

/* audit list */
extern const struct command audit_commands[];

#endif
