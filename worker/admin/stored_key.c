#include "worker/admin/stored_key.h"

#include "common/seal.h"

bool stored_key_open(struct context *context, const char *name, struct secret *key,
                     struct sealed_key *sealed, struct error *err)
{
    CLEANUP(seal_pair_release) struct seal_pair pair = SEAL_PAIR_INIT;
    CLEANUP(sealed_key_release) struct sealed_key found = SEALED_KEY_INIT;
    const char *path = context->settings->secret_key_file;

    if (!*path)
        return error_set(err, ERROR_INPUT,
                         "SECRET_KEY_FILE is not set: the stored key is opened with it");
    if (!seal_pair_load(&pair, path, err) || !connections_key(context->db, name, &found, err))
        return false;
    if (secret_file_exposed(path))
        warn_user("every user of this host can read the key file %s: chmod 600 it", path);
    if (!seal_open(&pair, found.bytes, found.len, key, err))
        return error_wrap(err, "connection %s", name);
    *sealed = found;
    found = SEALED_KEY_INIT;
    return true;
}
