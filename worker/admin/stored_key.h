#ifndef WORKER_ADMIN_STORED_KEY_H
#define WORKER_ADMIN_STORED_KEY_H

#include "common/secret.h"
#include "worker/cli/command.h"
#include "worker/store/connections.h"

/*
 * A connection's API key, opened with SECRET_KEY_FILE, and what it was opened
 * from. The caller releases both as soon as they are used. Only members of
 * klaviyo_worker may read them.
 */
bool stored_key_open(struct context *context, const char *connection, struct secret *key,
                     struct sealed_key *sealed, struct error *err) MUST_USE;

#endif
