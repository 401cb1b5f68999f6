#include "worker/admin/stored_key.h"

#include "common/seal.h"
#include "worker/store/connections.h"

bool stored_key_open(struct context *context, const char *name, struct secret *key,
                     struct error *err)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    CLEANUP(sealed_key_release) struct sealed_key sealed = SEALED_KEY_INIT;
    const char *path = context->settings->secret_key_file;

    if (!*path)
        return error_set(err, ERROR_INPUT,
                         "SECRET_KEY_FILE is not set: the stored key is opened with it");
    if (!seal_pair_load(&pair, path, err) || !connections_key(context->db, name, &sealed, err))
        return false;
    if (!seal_open(&pair, sealed.bytes, sealed.len, key, err))
        return error_wrap(err, "connection %s", name);
    return true;
}
