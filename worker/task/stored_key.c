#include "worker/task/stored_key.h"

#include <stdlib.h>

#include "common/seal.h"

bool stored_key_open(const struct task_context *context, const char *connection, struct secret *key,
                     struct sealed_key *sealed, struct error *err)
{
    CLEANUP(sealed_key_release) struct sealed_key found = SEALED_KEY_INIT;

    if (!context->pair)
        return error_set(err, ERROR_INPUT, "%s: the stored key is opened with it",
                         context->no_pair ? context->no_pair : "SECRET_KEY_FILE is not set");
    if (!connections_key(context->db, connection, &found, err))
        return false;
    if (!seal_open(context->pair, found.bytes, found.len, key, err))
        return error_wrap(err, "connection %s", connection);
    *sealed = found;
    found = SEALED_KEY_INIT;
    return true;
}

struct klaviyo_query *stored_key_query(const struct task_context *context, const char *connection,
                                       struct sealed_key *sealed, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(sealed_key_release) struct sealed_key opened = SEALED_KEY_INIT;
    char *account = NULL;

    if (!stored_key_open(context, connection, &key, &opened, err) ||
        !connections_account(context->db, connection, &account, err))
        return NULL;
    struct klaviyo_query *query =
        klaviyo_query_new(&(struct klaviyo_query_options){ context->settings, context->db, &key,
                                                           account, context->stop_fd },
                          err);
    free(account);
    if (query && sealed) {
        *sealed = opened;
        opened = SEALED_KEY_INIT;
    }
    return query;
}
