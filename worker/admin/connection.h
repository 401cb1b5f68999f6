#ifndef WORKER_ADMIN_CONNECTION_H
#define WORKER_ADMIN_CONNECTION_H

#include "worker/cli/command.h"

/* connection add, list, show, verify, grant, revoke, rotate-key, remove */
extern const struct command connection_commands[];

/* What `add` and `rotate-key` share; connection_key.c. */
bool connection_add(struct context *context, struct error *err);
bool connection_rotate_key(struct context *context, struct error *err);

/* connection_lists.c */
bool connection_lists(struct context *context, struct error *err);

/* connection_verify.c */
bool connection_verify(struct context *context, struct error *err);

#endif
