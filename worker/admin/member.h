#ifndef WORKER_ADMIN_MEMBER_H
#define WORKER_ADMIN_MEMBER_H

#include "worker/cli/command.h"

/* member show, forget: a person, by the address. */
extern const struct command member_commands[];

#endif
