#include "worker/store/key_pairs.h"

#include "worker/store/statement.h"

static const char newest_sql[] = "select key_pair_id::text::bytea, public_key"
                                 " from klaviyo.key_pair order by key_pair_id desc limit 1";

static const char add_sql[] = "select key_pair_id, marked from klaviyo.add_key_pair($1, $2)";

/*
 * Queued, parked with its wait over, or left by its worker: nobody took it for a moment. A slot
 * that may take it does so at once, and one that is just handed over is not marked.
 */
#define UNTAKEN                                   \
    "(r.state = 'queued' or (r.state = 'running'" \
    " and greatest(r.lease_until, r.parked_until) < clock_timestamp() - interval '5 s'))"

/* A run is marked as waiting; if its key belongs to this pair (again), no longer. */
static const char waiting_sql[] =
    "with waiting as materialized ("
    " select r.run_id, k.key_pair_id, k.key_pair_id <> $1::integer as other"
    " from klaviyo.run r join klaviyo.export x using (export_id)"
    " join klaviyo.connection c using (connection_id)"
    " join klaviyo.connection_key k using (connection_id)"
    " where r.state in ('queued', 'running') and " UNTAKEN " and c.attention_reason is null"
    " and (k.key_pair_id <> $1::integer or r.wait_reason = 'key_unreadable')),"
    " free as materialized (select r.run_id from klaviyo.run r"
    " where r.run_id in (select run_id from waiting) for no key update skip locked),"
    " said as (update klaviyo.run r set"
    " wait_reason = case when w.other then 'key_unreadable' end,"
    " wait_detail = case when w.other then format('its API key is sealed for key pair %s, worker %s"
    " has the key file of pair %s and leaves the run to others: %s', w.key_pair_id, $2::text,"
    " $1::integer, case when w.key_pair_id > $1::integer"
    " then 'put the newest key file in place and restart the workers'"
    " else 'give the key again with connection rotate-key' end) end"
    " from waiting w join free using (run_id) where w.run_id = r.run_id and " UNTAKEN
    " and (r.wait_reason is not distinct from 'key_unreadable') <> w.other)"
    " select count(*) filter (where other) from waiting";

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

bool key_pairs_add(struct db *db, const unsigned char *public_key, bool replace, char **marked,
                   struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_bytes(&args, public_key, SEAL_KEY_BYTES);
    args_bool(&args, replace);
    if (!db_query(db, add_sql, &args, &rows, err))
        return error_wrap(err, "storing the public half");
    if (result_is_null(rows, 0, 0))
        return error_set(err, ERROR_INPUT, "the database has a key pair already");
    return result_copy_text(rows, 0, 1, marked, err);
}

bool key_pairs_note_waiting(struct db *db, int64_t key_pair_id, const char *worker, int64_t *runs,
                            struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, key_pair_id);
    args_text(&args, worker);
    if (!db_query(db, waiting_sql, &args, &rows, err))
        return error_wrap(err, "looking for runs that wait for a key");
    *runs = result_int64(rows, 0, 0);
    return true;
}
