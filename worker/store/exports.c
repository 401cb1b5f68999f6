#include "worker/store/exports.h"

#include <stdlib.h>

#include "worker/store/statement.h"

/* A changed export that a run or an event was in the middle of: once more. */
enum { ATTEMPTS = 5 };

/* All arguments of a command are 2 MiB at most (Linux, ARG_MAX), each byte escaped. */
enum { ARRAY_MAX_BYTES = 4 * 1024 * 1024, PATH_MAX_BYTES = 4 * 1024 };

static const char connection_sql[] = "select connection_id from klaviyo.connection where name = $1";

static const char insert_sql[] =
    "insert into klaviyo.export (name, connection_id, list_id, email_path, max_profiles)"
    " values ($1, $2, $3, $4::text[], $5)"
    " on conflict (name) do nothing returning export_id";

static const char segments_sql[] =
    "insert into klaviyo.export_segment (export_id, segment_id)"
    " select distinct $1::bigint, segment_id from unnest($2::text[]) as given(segment_id)";

static const char fields_sql[] =
    "insert into klaviyo.export_field (export_id, position, target, name, path)"
    " select $1::bigint, n, target, name, path::text[]"
    " from unnest($2::text[], $3::text[], $4::text[])"
    " with ordinality as given(target, name, path, n)";

static const char forget_segments_sql[] = "delete from klaviyo.export_segment where export_id = $1";
static const char forget_fields_sql[] = "delete from klaviyo.export_field where export_id = $1";

static const char find_sql[] = "select export_id from klaviyo.export where name = $1";

/* Ends what is going on, before anything is changed: see 0009_changes.sql. */
static const char begin_change_sql[] = "select klaviyo.begin_change($1, $2)";

static const char update_sql[] =
    "update klaviyo.export set connection_id = coalesce($2, connection_id),"
    " list_id = coalesce($3, list_id),"
    " email_path = coalesce($4::text[], email_path),"
    " max_profiles = coalesce($5::bigint, max_profiles)"
    " where export_id = $1";

static const char pause_sql[] =
    "update klaviyo.export set paused = true, pause_reason = null where export_id = $1";
static const char resume_sql[] =
    "update klaviyo.export set paused = false, pause_reason = null where export_id = $1";
static const char remove_sql[] = "delete from klaviyo.export where export_id = $1";

bool exports_missing(const char *name, struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "there is no export %s that you may use: export list shows them", name);
}

/* ERROR_INPUT says what to ask the administrator for. */
static bool find_connection(struct db *db, const char *name, int64_t *connection_id,
                            struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, connection_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (result_rows(rows) == 0)
        return error_set(err, ERROR_INPUT,
                         "there is no connection %s that you may use: connection list shows those "
                         "that you may; for another one ask an administrator to make it, or to "
                         "run connection grant %s YOUR_ROLE",
                         name, name);
    *connection_id = result_int64(rows, 0, 0);
    return true;
}

static bool find_export(struct db *db, const char *name, int64_t *export_id, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, find_sql, &args, &rows, err))
        return error_wrap(err, "export %s", name);
    if (result_rows(rows) == 0)
        return exports_missing(name, err);
    *export_id = result_int64(rows, 0, 0);
    return true;
}

static bool insert_segments(struct db *db, int64_t export_id, const struct export_draft *draft,
                            struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf segments = STRBUF_INIT(ARRAY_MAX_BYTES);
    struct args args = ARGS_INIT;

    array_open(&segments);
    for (size_t i = 0; i < draft->n_segments; i++)
        array_text(&segments, draft->segments[i], strlen(draft->segments[i]));
    array_close(&segments);
    args_int64(&args, export_id);
    return args_array(&args, &segments, err) && db_query(db, segments_sql, &args, NULL, err);
}

static void add_path(struct strbuf *array, const struct export_path *path)
{
    array_open(array);
    for (size_t i = 0; i < path->n; i++)
        array_text(array, path->parts[i], strlen(path->parts[i]));
    array_close(array);
}

/* An array of arrays, each as its text: those of different lengths make no other array. */
static bool add_paths(struct strbuf *paths, const struct export_draft *draft, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf path = STRBUF_INIT(PATH_MAX_BYTES);

    array_open(paths);
    for (size_t i = 0; i < draft->n_fields; i++) {
        strbuf_rewind(&path, 0);
        add_path(&path, &draft->fields[i].path);
        if (!strbuf_ok(&path))
            return error_no_memory(err);
        array_text(paths, path.data, path.len);
    }
    array_close(paths);
    return true;
}

static bool insert_fields(struct db *db, int64_t export_id, const struct export_draft *draft,
                          struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf targets = STRBUF_INIT(ARRAY_MAX_BYTES);
    CLEANUP(strbuf_release) struct strbuf names = STRBUF_INIT(ARRAY_MAX_BYTES);
    CLEANUP(strbuf_release) struct strbuf paths = STRBUF_INIT(ARRAY_MAX_BYTES);
    struct args args = ARGS_INIT;

    array_open(&targets);
    array_open(&names);
    for (size_t i = 0; i < draft->n_fields; i++) {
        const struct export_mapping *field = &draft->fields[i];
        array_text(&targets, field->target, strlen(field->target));
        array_text(&names, field->name, strlen(field->name));
    }
    array_close(&targets);
    array_close(&names);
    args_int64(&args, export_id);
    return add_paths(&paths, draft, err) && args_array(&args, &targets, err) &&
           args_array(&args, &names, err) && args_array(&args, &paths, err) &&
           db_query(db, fields_sql, &args, NULL, err);
}

/* -- making one -- */

static bool insert_export(struct db *db, const struct export_draft *draft, int64_t connection_id,
                          int64_t *export_id, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf path = STRBUF_INIT(PATH_MAX_BYTES);
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    add_path(&path, &draft->email_path);
    args_text(&args, draft->name);
    args_int64(&args, connection_id);
    args_text(&args, draft->list_id);
    if (!args_array(&args, &path, err))
        return false;
    args_int64(&args, draft->max_profiles);
    if (!db_query(db, insert_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_set(err, ERROR_INPUT,
                         "there is an export %s already: choose another name, or change it with "
                         "export update",
                         draft->name);
    *export_id = result_int64(rows, 0, 0);
    return true;
}

static bool add_in_transaction(struct db *db, const struct export_draft *draft, struct error *err)
{
    int64_t connection_id = 0, export_id = 0;

    return find_connection(db, draft->connection, &connection_id, err) &&
           insert_export(db, draft, connection_id, &export_id, err) &&
           insert_segments(db, export_id, draft, err) && insert_fields(db, export_id, draft, err);
}

/* -- changing one -- */

static bool begin_change(struct db *db, int64_t export_id, const char *reason, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, export_id);
    args_text(&args, reason);
    return db_query(db, begin_change_sql, &args, NULL, err);
}

static bool update_row(struct db *db, int64_t export_id, const struct export_draft *draft,
                       struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf path = STRBUF_INIT(PATH_MAX_BYTES);
    struct args args = ARGS_INIT;
    int64_t connection_id = 0;

    if (draft->connection && !find_connection(db, draft->connection, &connection_id, err))
        return false;
    args_int64(&args, export_id);
    if (draft->connection)
        args_int64(&args, connection_id);
    else
        args_text(&args, NULL);
    args_text(&args, draft->list_id);
    add_path(&path, &draft->email_path);
    if (draft->email_path.n == 0)
        args_text(&args, NULL);
    else if (!args_array(&args, &path, err))
        return false;
    if (draft->max_profiles > 0)
        args_int64(&args, draft->max_profiles);
    else
        args_text(&args, NULL);
    return db_query(db, update_sql, &args, NULL, err);
}

static bool by_id(struct db *db, const char *sql, int64_t export_id, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, export_id);
    return db_query(db, sql, &args, NULL, err);
}

static bool update_in_transaction(struct db *db, const struct export_draft *draft,
                                  struct error *err)
{
    int64_t export_id = 0;

    return find_export(db, draft->name, &export_id, err) &&
           begin_change(db, export_id, "export_changed", err) &&
           update_row(db, export_id, draft, err) &&
           (draft->n_segments == 0 || (by_id(db, forget_segments_sql, export_id, err) &&
                                       insert_segments(db, export_id, draft, err))) &&
           (!draft->replace_fields || (by_id(db, forget_fields_sql, export_id, err) &&
                                       insert_fields(db, export_id, draft, err)));
}

static bool pause_in_transaction(struct db *db, const struct export_draft *draft, struct error *err)
{
    int64_t export_id = 0;

    return find_export(db, draft->name, &export_id, err) &&
           begin_change(db, export_id, "export_paused", err) &&
           by_id(db, pause_sql, export_id, err);
}

static bool resume_in_transaction(struct db *db, const struct export_draft *draft,
                                  struct error *err)
{
    int64_t export_id = 0;

    return find_export(db, draft->name, &export_id, err) && by_id(db, resume_sql, export_id, err);
}

static bool remove_in_transaction(struct db *db, const struct export_draft *draft,
                                  struct error *err)
{
    int64_t export_id = 0;

    return find_export(db, draft->name, &export_id, err) &&
           begin_change(db, export_id, "export_removed", err) &&
           by_id(db, remove_sql, export_id, err);
}

typedef bool change_fn(struct db *db, const struct export_draft *draft, struct error *err);

static bool attempt(struct db *db, change_fn *change, const struct export_draft *draft,
                    struct error *err)
{
    if (!db_begin(db, err))
        return false;
    if (change(db, draft, err) && db_commit(db, err))
        return true;
    db_rollback(db);
    return false;
}

/* A worker that writes for the export may stand in the way for a moment. */
static bool in_transaction(struct db *db, change_fn *change, const struct export_draft *draft,
                           struct error *err)
{
    struct error why = ERROR_INIT;

    for (int i = 0; i < ATTEMPTS; i++) {
        if (attempt(db, change, draft, &why))
            return true;
        if (why.kind != ERROR_RETRY || !db_ready(db, &why))
            break;
    }
    *err = why;
    return error_wrap(err, "export %s", draft->name);
}

bool exports_add(struct db *db, const struct export_draft *draft, struct error *err)
{
    return in_transaction(db, add_in_transaction, draft, err);
}

bool exports_update(struct db *db, const struct export_draft *draft, struct error *err)
{
    return in_transaction(db, update_in_transaction, draft, err);
}

bool exports_pause(struct db *db, const char *name, struct error *err)
{
    return in_transaction(db, pause_in_transaction, &(struct export_draft){ .name = name }, err);
}

bool exports_resume(struct db *db, const char *name, struct error *err)
{
    return in_transaction(db, resume_in_transaction, &(struct export_draft){ .name = name }, err);
}

bool exports_remove(struct db *db, const char *name, struct error *err)
{
    return in_transaction(db, remove_in_transaction, &(struct export_draft){ .name = name }, err);
}
