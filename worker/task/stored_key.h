#ifndef WORKER_TASK_STORED_KEY_H
#define WORKER_TASK_STORED_KEY_H

#include "common/secret.h"
#include "worker/store/connections.h"
#include "worker/task/klaviyo_query.h"
#include "worker/task/task_context.h"

/*
 * A connection's API key, opened with the key pair at hand, and its sealed form. The caller
 * releases both as soon as they are used. Only members of klaviyo_worker may read them.
 */
bool stored_key_open(const struct task_context *context, const char *connection, struct secret *key,
                     struct sealed_key *sealed, struct error *err) MUST_USE;

/* Questions with that key, counted for its account. NULL on failure. sealed: NULL, or the caller's.
 */
struct klaviyo_query *stored_key_query(const struct task_context *context, const char *connection,
                                       struct sealed_key *sealed, struct error *err) MUST_USE;

#endif
