#ifndef WORKER_ADMIN_COMPLETE_H
#define WORKER_ADMIN_COMPLETE_H

#include "worker/cli/command.h"

/*
 * `__complete WORD…`, which the shells' completion calls: the names that the last
 * word could become, one per line; none where no name fits or the database does not
 * answer. It is not a command for people, and is in no help.
 */
extern const struct command complete_commands[];

#endif
