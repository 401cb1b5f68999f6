/* The commands that take an API key: read, checked, shown to Klaviyo, sealed, stored, wiped. */
#include <stdio.h>
#include <stdlib.h>

#include "common/seal.h"
#include "worker/admin/connection.h"
#include "worker/admin/name.h"
#include "worker/cli/arguments.h"
#include "worker/cli/ask_secret.h"
#include "worker/cli/print.h"
#include "worker/klaviyo/client.h"
#include "worker/store/connection_view.h"
#include "worker/store/connections.h"
#include "worker/store/key_pairs.h"
#include "worker/task/klaviyo_query.h"

/* Goes up when the wording that is agreed to (see connection.c) changes. */
enum { CONSENT_VERSION = 1 };

static bool read_key(struct secret *key, const struct arguments *arguments, struct error *err)
{
    CLEANUP(secret_release) struct secret read = SECRET_INIT;
    const char *path = arguments_value(arguments, "--api-key-file");

    if (!secret_ask(&read, path, "Klaviyo API key (not shown): ", API_KEY_MAX + 1, err) ||
        !api_key_check(read.bytes, read.len, err))
        return false;
    if (secret_file_exposed(path))
        warn_user("every user of this host can read the API key in %s: chmod 600 it, or remove it "
                  "once the key is stored",
                  path);
    *key = read;
    read = SECRET_INIT;
    return true;
}

static bool seal_key(struct db *db, const struct secret *key, struct sealed_key *sealed,
                     struct error *err)
{
    struct key_pair pair;

    if (!key_pairs_newest(db, &pair, err))
        return false;
    if (pair.key_pair_id == 0)
        return error_set(err, ERROR_INPUT,
                         "there is no key pair to seal the API key with: run klaviyo-worker keygen "
                         "--out FILE first");
    size_t len = key->len + SEAL_EXTRA_BYTES;
    unsigned char *bytes = malloc(len);
    if (!bytes)
        return error_no_memory(err);
    if (!seal_close(pair.public_key, key, bytes, err)) {
        free(bytes);
        return false;
    }
    *sealed = (struct sealed_key){ .key_pair_id = pair.key_pair_id, .bytes = bytes, .len = len };
    return true;
}

/* An empty id where Klaviyo is not to be asked. counted_for: NULL where it is not known yet. */
static bool look_up_account(struct context *context, const struct secret *key,
                            const char *counted_for, struct account *account, struct error *err)
{
    *account = (struct account){ .id = "" };
    if (arguments_flag(context->arguments, "--no-verify"))
        return true;

    CLEANUP(klaviyo_query_freep)
    struct klaviyo_query *query = klaviyo_query_new(
        &(struct klaviyo_query_options){ context->settings, context->db, key, counted_for, NULL },
        err);
    if (query && klaviyo_query_account(query, account, err) == KLAVIYO_QUERY_ANSWERED)
        return true;
    return error_wrap(err, "nothing was stored (--no-verify stores the key without checking it)");
}

static bool say_what_was_stored(struct context *context, const char *what,
                                const struct connection_draft *draft, struct error *err)
{
    char *others = NULL;

    if (!draft->account_id) {
        print_line("%s %s. Its key was not checked: connection verify does.", what, draft->name);
        return true;
    }
    print_line("%s %s: Klaviyo account %s (%s).", what, draft->name, draft->account_id,
               draft->account_name);
    if (!connection_view_of_account(context->db, draft->account_id, draft->name, &others, err))
        return false;
    if (others)
        print_line("Other connections to this account: %s; they share its rate limits.", others);
    free(others);
    return true;
}

typedef bool store_fn(struct db *db, const struct connection_draft *draft, struct error *err);

static bool store_key(struct context *context, store_fn *store, const char *what, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(sealed_key_release) struct sealed_key sealed = SEALED_KEY_INIT;
    const char *name = context->arguments->operands[0];
    char *counted_for = NULL;
    struct account account;

    if (!name_check(context, "connection", name, err) || !read_key(&key, context->arguments, err) ||
        !seal_key(context->db, &key, &sealed, err))
        return false;
    if (store == connections_rotate && !connections_account(context->db, name, &counted_for, err))
        return false;
    bool ok = look_up_account(context, &key, counted_for, &account, err);
    free(counted_for);
    if (!ok)
        return false;
    struct connection_draft draft = { .name = name,
                                      .consent_version = CONSENT_VERSION,
                                      .account_id = *account.id ? account.id : NULL,
                                      .account_name = *account.id ? account.name : NULL,
                                      .key = &sealed };
    return store(context->db, &draft, err) && say_what_was_stored(context, what, &draft, err);
}

static bool with_client_library(struct context *context, store_fn *store, const char *what,
                                struct error *err)
{
    if (!client_library_init(err))
        return false;
    bool ok = store_key(context, store, what, err);
    client_library_release();
    return ok;
}

bool connection_add(struct context *context, struct error *err)
{
    return with_client_library(context, connections_add, "Added connection", err);
}

bool connection_rotate_key(struct context *context, struct error *err)
{
    return with_client_library(context, connections_rotate, "Stored a new key for connection", err);
}
