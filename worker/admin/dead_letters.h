#ifndef WORKER_ADMIN_DEAD_LETTERS_H
#define WORKER_ADMIN_DEAD_LETTERS_H

#include "worker/cli/command.h"

/* dead-letters list, replay */
extern const struct command dead_letters_commands[];

#endif
