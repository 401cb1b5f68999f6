#ifndef WORKER_ADMIN_STORED_KEY_H
#define WORKER_ADMIN_STORED_KEY_H

#include "common/secret.h"
#include "worker/cli/command.h"

/*
 * A connection's API key, opened with SECRET_KEY_FILE. The caller releases it as
 * soon as it is used. Only members of klaviyo_worker may read it.
 */
bool stored_key_open(struct context *context, const char *connection, struct secret *key,
                     struct error *err) MUST_USE;

#endif
