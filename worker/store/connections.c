#include "worker/store/connections.h"

#include <stdlib.h>
#include <string.h>

#include "worker/store/document.h"
#include "worker/store/missing_name.h"
#include "worker/store/statement.h"

static const char add_sql[] =
    "select klaviyo.add_connection($1, $2::integer, $3, $4, $5::integer, $6)";

static const char replace_key_sql[] = "select klaviyo.replace_key($1, $2, $3, $4::integer, $5)";

static const char account_sql[] = "select account_id from klaviyo.connection where name = $1";

static const char remove_sql[] = "select klaviyo.remove_connection($1)";

static const char fits_sql[] = "select klaviyo.check_account($1, $2, $3)";

static const char verified_sql[] =
    "select klaviyo.note_findings($1, $2, $3, $4, string_to_array($5, ' '))";

static const char budget_sql[] =
    "select coalesce(account_id, 'connection:' || connection_id) from klaviyo.connection"
    " where name = $1";

static const char refused_sql[] =
    "select case when klaviyo.mark_attention(connection_id, $2, $3) then 'marked'"
    " else 'another_key' end from klaviyo.connection where name = $1";

static const char key_sql[] =
    "select k.key_pair_id::text::bytea, k.sealed_key from klaviyo.connection_key k"
    " join klaviyo.connection c using (connection_id) where c.name = $1";

static const char grant_sql[] = "select klaviyo.grant_connection($1, $2)";

static const char share_sql[] = "select klaviyo.change_connection($1, $2::integer)";

static const char revoke_sql[] =
    "select was_granted, paused from klaviyo.revoke_connection($1, $2)";

bool connections_missing(struct db *db, const char *name, struct error *err)
{
    static const struct missing_name connection = {
        .what = "connection",
        .names_sql = "select name from klaviyo.connection order by name",
        .advice = "connection list shows them",
    };

    return missing_name(db, &connection, name, err);
}

void sealed_key_release(struct sealed_key *key)
{
    free(key->bytes);
    *key = SEALED_KEY_INIT;
}

bool connections_add(struct db *db, const struct connection_draft *draft, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, draft->name);
    args_int64(&args, draft->consent_version);
    args_text(&args, draft->account_id);
    args_text(&args, draft->account_name);
    args_int64(&args, draft->key->key_pair_id);
    args_bytes(&args, draft->key->bytes, draft->key->len);
    if (!db_query(db, add_sql, &args, &rows, err))
        return error_wrap(err, "storing the connection");
    if (result_is_null(rows, 0, 0))
        return error_set(err, ERROR_INPUT,
                         "there is a connection %s already: choose another name, or give it a new "
                         "key with connection rotate-key",
                         draft->name);
    return true;
}

/* A key of another account would send to lists that are not there. */
static bool check_account(struct db *db, const struct connection_draft *draft, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, draft->name);
    if (!db_query(db, account_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", draft->name);
    if (result_rows(rows) == 0)
        return connections_missing(db, draft->name, err);
    const char *before = result_text(rows, 0, 0);
    if (!before || !draft->account_id || strcmp(before, draft->account_id) == 0)
        return true;
    return error_set(err, ERROR_INPUT,
                     "the new key belongs to Klaviyo account %s, connection %s to %s: make another "
                     "connection for it, and give it to the exports with export update",
                     draft->account_id, draft->name, before);
}

bool connections_rotate(struct db *db, const struct connection_draft *draft, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    if (!check_account(db, draft, err))
        return false;
    args_text(&args, draft->name);
    args_text(&args, draft->account_id);
    args_text(&args, draft->account_name);
    args_int64(&args, draft->key->key_pair_id);
    args_bytes(&args, draft->key->bytes, draft->key->len);
    if (!db_query(db, replace_key_sql, &args, &rows, err))
        return error_wrap(err, "storing the new key");
    return result_bool(rows, 0, 0) || connections_missing(db, draft->name, err);
}

bool connections_remove(struct db *db, const char *name, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, remove_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (result_is_null(rows, 0, 0))
        return connections_missing(db, name, err);
    if (!*result_text(rows, 0, 0))
        return true;
    return error_set(err, ERROR_INPUT,
                     "connection %s is still used by: %s: remove these exports first, or give "
                     "them another connection with export update",
                     name, result_text(rows, 0, 0));
}

/* Why a finding does not count, as klaviyo.check_account() and note_findings() say it. */
static const struct {
    const char *said, *words;
} objections[] = {
    { "another_key", "has got another key meanwhile: run connection verify again" },
    { "another_account", "needs attention now: its key belongs to another Klaviyo account than "
                         "the connection, so nothing was stored: run connection rotate-key with a "
                         "key of the account that connection show names" },
    { "older_pair", "needs its key again: Klaviyo takes the one it has, but that is sealed for a "
                    "key pair that has been replaced: run connection rotate-key" },
};

static bool accept_finding(const char *name, const char *said, struct error *err)
{
    for (size_t i = 0; i < sizeof objections / sizeof objections[0]; i++)
        if (strcmp(said, objections[i].said) == 0)
            return error_set(err, ERROR_INPUT, "connection %s %s", name, objections[i].words);
    return true;
}

/* One row and column: null where the connection is gone. */
static bool note_finding(struct db *db, const char *sql, const struct args *args, const char *name,
                         struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, sql, args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (result_rows(rows) == 0 || result_is_null(rows, 0, 0))
        return connections_missing(db, name, err);
    return accept_finding(name, result_text(rows, 0, 0), err);
}

bool connections_fits(struct db *db, const char *name, const struct sealed_key *key,
                      const char *account_id, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_bytes(&args, key->bytes, key->len);
    args_text(&args, account_id);
    return note_finding(db, fits_sql, &args, name, err);
}

bool connections_verified(struct db *db, const char *name, const struct sealed_key *key,
                          const struct connection_findings *findings, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_bytes(&args, key->bytes, key->len);
    args_text(&args, findings->account_id);
    args_text(&args, findings->account_name);
    args_text(&args, findings->scopes);
    return note_finding(db, verified_sql, &args, name, err);
}

bool connections_refused(struct db *db, const char *name, const struct sealed_key *key,
                         const char *reason, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_text(&args, reason);
    args_bytes(&args, key->bytes, key->len);
    return note_finding(db, refused_sql, &args, name, err);
}

bool connections_account(struct db *db, const char *name, char **account, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, name);
    if (!db_query_document(db, budget_sql, &args, &found, err))
        return error_wrap(err, "connection %s", name);
    if (!found)
        return connections_missing(db, name, err);
    *account = found;
    return true;
}

bool connections_key(struct db *db, const char *name, struct sealed_key *key, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query_binary(db, key_sql, &args, &rows, err))
        return error_wrap(err, "reading the sealed key, which only members of klaviyo_worker may");
    if (result_rows(rows) == 0)
        return connections_missing(db, name, err);

    size_t len = (size_t)PQgetlength(rows, 0, 1);
    unsigned char *bytes = malloc(len + 1);
    if (!bytes)
        return error_no_memory(err);
    memcpy(bytes, PQgetvalue(rows, 0, 1), len);
    *key =
        (struct sealed_key){ .key_pair_id = result_int64(rows, 0, 0), .bytes = bytes, .len = len };
    return true;
}

bool connections_change_share(struct db *db, const char *name, int64_t share, bool *changed,
                              struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_int64(&args, share);
    if (!db_query(db, share_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (result_is_null(rows, 0, 0))
        return connections_missing(db, name, err);
    *changed = result_bool(rows, 0, 0);
    return true;
}

bool connections_grant(struct db *db, const char *name, const char *role, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_text(&args, role);
    if (!db_query(db, grant_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (result_is_null(rows, 0, 0))
        return connections_missing(db, name, err);
    if (!result_bool(rows, 0, 0))
        return error_set(err, ERROR_INPUT,
                         "there is no role %s on this server: nothing was granted", role);
    return true;
}

bool connections_revoke(struct db *db, const char *name, const char *role, char **paused,
                        struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_text(&args, role);
    if (!db_query(db, revoke_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (!result_bool(rows, 0, 0) && result_is_null(rows, 0, 1))
        return error_set(err, ERROR_INPUT, "connection %s is not granted to %s: nothing to revoke",
                         name, role);
    return result_copy_text(rows, 0, 1, paused, err);
}
