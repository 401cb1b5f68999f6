#ifndef WORKER_ADMIN_SEGMENT_H
#define WORKER_ADMIN_SEGMENT_H

#include "worker/cli/command.h"

/* segment list, fields */
extern const struct command segment_commands[];

#endif
