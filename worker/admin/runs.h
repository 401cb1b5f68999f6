#ifndef WORKER_ADMIN_RUNS_H
#define WORKER_ADMIN_RUNS_H

#include "worker/cli/command.h"

/* runs list, show, watch, cancel, rejections */
extern const struct command runs_commands[];

#endif
