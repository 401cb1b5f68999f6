#include "worker/store/connections.h"

#include <stdlib.h>

#include "worker/store/document.h"
#include "worker/store/statement.h"

static const char add_sql[] =
    "with made as (insert into klaviyo.connection"
    " (name, consent_version, account_id, account_name, verified_at)"
    " values ($1, $2::integer, $3::text, $4,"
    " case when $3 is not null then clock_timestamp() end)"
    " on conflict (name) do nothing returning connection_id),"
    " keyed as (insert into klaviyo.connection_key (connection_id, key_pair_id, sealed_key)"
    " select connection_id, $5::integer, $6 from made)"
    " select connection_id from made";

static const char rotate_sql[] =
    "with found as (update klaviyo.connection set attention_reason = null, attention_at = null,"
    " account_id = coalesce($3::text, account_id), account_name = coalesce($4, account_name),"
    " verified_at = case when $3 is not null then clock_timestamp() end"
    " where name = $1 returning connection_id),"
    " keyed as (update klaviyo.connection_key k set key_pair_id = $5::integer, sealed_key = $6"
    " from found f where k.connection_id = f.connection_id)"
    " select connection_id, $2::integer from found";

static const char account_sql[] = "select account_id from klaviyo.connection where name = $1";

static const char exports_on_sql[] =
    "select string_agg(x.name, ', ' order by x.name) from klaviyo.export x"
    " join klaviyo.connection c using (connection_id) where c.name = $1";

static const char remove_sql[] =
    "delete from klaviyo.connection where name = $1 returning connection_id";

static const char verified_sql[] =
    "update klaviyo.connection set account_id = coalesce($2, account_id),"
    " account_name = coalesce($3, account_name), scopes = string_to_array($4, ' '),"
    " verified_at = clock_timestamp(), attention_reason = null, attention_at = null"
    " where name = $1 returning connection_id";

static const char budget_sql[] =
    "select coalesce(account_id, 'connection:' || connection_id) from klaviyo.connection"
    " where name = $1";

static const char refused_sql[] =
    "select klaviyo.need_attention(connection_id, $2) from klaviyo.connection where name = $1";

static const char key_sql[] =
    "select k.key_pair_id::text::bytea, k.sealed_key from klaviyo.connection_key k"
    " join klaviyo.connection c using (connection_id) where c.name = $1";

static const char grant_sql[] =
    "with found as (select connection_id from klaviyo.connection where name = $1),"
    " granted as (insert into klaviyo.connection_grant (connection_id, role_name)"
    " select connection_id, $2::text from found"
    " where exists (select from pg_roles where rolname = $2::text) on conflict do nothing)"
    " select exists (select from pg_roles where rolname = $2::text) from found";

static const char revoke_sql[] =
    "delete from klaviyo.connection_grant g using klaviyo.connection c"
    " where g.connection_id = c.connection_id and c.name = $1 and g.role_name = $2"
    " returning g.connection_id";

static const char pause_sql[] = "select klaviyo.pause_unusable($1, $2)";

bool connections_missing(const char *name, struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "there is no connection %s that you may use: connection list shows them",
                     name);
}

void sealed_key_release(struct sealed_key *key)
{
    free(key->bytes);
    *key = SEALED_KEY_INIT;
}

static void draft_args(struct args *args, const struct connection_draft *draft)
{
    args_text(args, draft->name);
    args_int64(args, draft->consent_version);
    args_text(args, draft->account_id);
    args_text(args, draft->account_name);
    args_int64(args, draft->key->key_pair_id);
    args_bytes(args, draft->key->bytes, draft->key->len);
}

bool connections_add(struct db *db, const struct connection_draft *draft, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    draft_args(&args, draft);
    if (!db_query(db, add_sql, &args, &rows, err))
        return error_wrap(err, "storing the connection");
    if (result_rows(rows) == 0)
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
        return connections_missing(draft->name, err);
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
    draft_args(&args, draft);
    if (!db_query(db, rotate_sql, &args, &rows, err))
        return error_wrap(err, "storing the new key");
    return result_rows(rows) > 0 || connections_missing(draft->name, err);
}

/* A statement about one connection that returns a row where it is there. */
static bool change(struct db *db, const char *sql, const struct args *args, const char *name,
                   struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, sql, args, &rows, err))
        return error_wrap(err, "connection %s", name);
    return result_rows(rows) > 0 || connections_missing(name, err);
}

bool connections_remove(struct db *db, const char *name, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, exports_on_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (!result_is_null(rows, 0, 0))
        return error_set(err, ERROR_INPUT,
                         "connection %s is still used by: %s: remove these exports first, or give "
                         "them another connection with export update",
                         name, result_text(rows, 0, 0));
    return change(db, remove_sql, &args, name, err);
}

bool connections_verified(struct db *db, const char *name,
                          const struct connection_findings *findings, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_text(&args, findings->account_id);
    args_text(&args, findings->account_name);
    args_text(&args, findings->scopes);
    return change(db, verified_sql, &args, name, err);
}

bool connections_refused(struct db *db, const char *name, const char *reason, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_text(&args, reason);
    return change(db, refused_sql, &args, name, err);
}

bool connections_account(struct db *db, const char *name, char **account, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, name);
    if (!db_query_document(db, budget_sql, &args, &found, err))
        return error_wrap(err, "connection %s", name);
    if (!found)
        return connections_missing(name, err);
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
        return connections_missing(name, err);

    size_t len = (size_t)PQgetlength(rows, 0, 1);
    unsigned char *bytes = malloc(len + 1);
    if (!bytes)
        return error_no_memory(err);
    memcpy(bytes, PQgetvalue(rows, 0, 1), len);
    *key =
        (struct sealed_key){ .key_pair_id = result_int64(rows, 0, 0), .bytes = bytes, .len = len };
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
    if (result_rows(rows) == 0)
        return connections_missing(name, err);
    if (!result_bool(rows, 0, 0))
        return error_set(err, ERROR_INPUT,
                         "there is no role %s on this server: nothing was granted", role);
    return true;
}

static bool revoke(struct db *db, const struct args *args, const char *name, const char *role,
                   struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, revoke_sql, args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (result_rows(rows) > 0)
        return true;
    return error_set(err, ERROR_INPUT, "connection %s is not granted to %s: nothing to revoke",
                     name, role);
}

bool connections_revoke(struct db *db, const char *name, const char *role, char **paused,
                        struct error *err)
{
    struct args args = ARGS_INIT;
    char *names = NULL;

    args_text(&args, name);
    args_text(&args, role);
    if (!db_begin(db, err))
        return false;
    if (!revoke(db, &args, name, role, err) ||
        !db_query_document(db, pause_sql, &args, &names, err) || !db_commit(db, err)) {
        free(names);
        db_rollback(db);
        return false;
    }
    *paused = names;
    return true;
}
