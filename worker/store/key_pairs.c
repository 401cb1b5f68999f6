#include "worker/store/key_pairs.h"

#include "worker/store/document.h"
#include "worker/store/statement.h"

static const char newest_sql[] = "select key_pair_id::text::bytea, public_key"
                                 " from klaviyo.key_pair order by key_pair_id desc limit 1";

/* One at a time, so that two cannot both be the first. */
static const char lock_sql[] = "select pg_advisory_xact_lock(5540121769)";

static const char add_sql[] =
    "insert into klaviyo.key_pair (public_key)"
    " select $1 where $2::boolean or not exists (select from klaviyo.key_pair)"
    " returning key_pair_id";

static const char mark_sql[] =
    "with old as materialized ("
    " select c.connection_id, c.name, klaviyo.need_attention(c.connection_id,"
    " 'its key was sealed for a key pair that has been replaced')"
    " from klaviyo.connection c join klaviyo.connection_key k using (connection_id)"
    " where k.key_pair_id < (select max(key_pair_id) from klaviyo.key_pair))"
    " select string_agg(name, ', ' order by name) from old";

bool key_pairs_newest(struct db *db, struct key_pair *pair, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct key_pair found = { .key_pair_id = 0 };

    if (!db_query_binary(db, newest_sql, NULL, &rows, err))
        return error_wrap(err, "looking for the key pair");
    if (result_rows(rows) > 0) {
        found.key_pair_id = result_int64(rows, 0, 0);
        memcpy(found.public_key, PQgetvalue(rows, 0, 1), SEAL_KEY_BYTES);
    }
    *pair = found;
    return true;
}

static bool insert_pair(struct db *db, const unsigned char *public_key, bool replace,
                        struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_bytes(&args, public_key, SEAL_KEY_BYTES);
    args_bool(&args, replace);
    if (!db_query(db, lock_sql, NULL, NULL, err) || !db_query(db, add_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_set(err, ERROR_INPUT, "the database has a key pair already");
    return true;
}

bool key_pairs_add(struct db *db, const unsigned char *public_key, bool replace, char **marked,
                   struct error *err)
{
    char *names = NULL;

    if (!db_begin(db, err))
        return false;
    if (!insert_pair(db, public_key, replace, err) ||
        !db_query_document(db, mark_sql, NULL, &names, err) || !db_commit(db, err)) {
        free(names);
        db_rollback(db);
        return false;
    }
    *marked = names;
    return true;
}
