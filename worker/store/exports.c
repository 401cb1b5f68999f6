#include "worker/store/exports.h"

#include "worker/store/missing_name.h"
#include "worker/store/statement.h"

/* A changed export that a run or an event was in the middle of: once more. */
enum { ATTEMPTS = 5 };

/* All arguments of a command are 2 MiB at most (Linux, ARG_MAX), each byte escaped. */
enum { ARRAY_MAX_BYTES = 4 * 1024 * 1024, PATH_MAX_BYTES = 4 * 1024 };

static const char connection_sql[] = "select connection_id from klaviyo.connection where name = $1";

/* $1 is the name. klaviyo.add_export() says what a draft may hold. */
#define DRAFT                                                                        \
    "jsonb_strip_nulls(jsonb_build_object('connection', $2::text, 'list', $3::text," \
    " 'email_path', to_jsonb($4::text[]), 'max_profiles', $5::bigint,"               \
    " 'segments', to_jsonb($6::text[]), 'allow_phone_number', $7::boolean,"          \
    " 'fields', case when $8::text[] is not null then (select coalesce(jsonb_agg("   \
    "jsonb_build_object('target', target, 'name', name, 'path', path::text[])"       \
    " order by n), '[]') from unnest($8::text[], $9::text[], $10::text[])"           \
    " with ordinality as given(target, name, path, n)) end,"                         \
    " 'max_invalid', $11::integer, 'size_guard', $12::boolean, 'plan', $13::text,"   \
    " 'flows_known', $14::boolean, 'on_leave', $15::text))"

static const char add_sql[] = "select klaviyo.add_export($1, " DRAFT ")";
static const char change_sql[] = "select klaviyo.change_export($1, " DRAFT ")";
static const char look_sql[] = "select klaviyo.look_at_draft($1, " DRAFT ")";
static const char look_new_sql[] =
    "select case when not exists (select from klaviyo.export where name = $1)"
    " then klaviyo.look_at_draft($1, " DRAFT ") end";
static const char expect_sql[] = "select klaviyo.expect_export($1, nullif($2::bigint, 0))";
static const char pause_sql[] = "select klaviyo.pause_export($1)";
static const char resume_sql[] = "select klaviyo.resume_export($1)";
static const char remove_sql[] = "select klaviyo.remove_export($1)";

bool exports_missing(struct db *db, const char *name, struct error *err)
{
    static const struct missing_name export = {
        .what = "export",
        .names_sql = "select name from klaviyo.export order by name",
        .advice = "export list shows them",
    };

    return missing_name(db, &export, name, err);
}

/* ERROR_INPUT says what to ask the administrator for. */
static bool check_connection(struct db *db, const char *name, struct error *err)
{
    static const struct missing_name connection = {
        .what = "connection",
        .names_sql = "select name from klaviyo.connection order by name",
        .advice = "connection list shows those that you may; for another one ask an "
                  "administrator to make it, or to run connection grant for it and your role",
    };
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, connection_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    return result_rows(rows) > 0 || missing_name(db, &connection, name, err);
}

/* -- a draft as parameters -- */

struct draft_arrays {
    struct strbuf email_path, segments, targets, names, paths;
};

static void draft_arrays_release(struct draft_arrays *a)
{
    strbuf_release(&a->email_path);
    strbuf_release(&a->segments);
    strbuf_release(&a->targets);
    strbuf_release(&a->names);
    strbuf_release(&a->paths);
}

static void add_string(struct strbuf *array, const char *text)
{
    array_text(array, text, strlen(text));
}

static void add_path(struct strbuf *array, const struct export_path *path)
{
    array_open(array);
    for (size_t i = 0; i < path->n; i++)
        add_string(array, path->parts[i]);
    array_close(array);
}

static void fill_segments(struct draft_arrays *a, const struct export_draft *draft)
{
    array_open(&a->segments);
    for (size_t i = 0; i < draft->n_segments; i++)
        add_string(&a->segments, draft->segments[i]);
    array_close(&a->segments);
}

/* An array of arrays, each as its text: those of different lengths make no other array. */
static bool fill_paths(struct draft_arrays *a, const struct export_draft *draft, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf path = STRBUF_INIT(PATH_MAX_BYTES);

    array_open(&a->paths);
    for (size_t i = 0; i < draft->n_fields; i++) {
        strbuf_rewind(&path, 0);
        add_path(&path, &draft->fields[i].path);
        if (!strbuf_ok(&path))
            return error_no_memory(err);
        array_text(&a->paths, path.data, path.len);
    }
    array_close(&a->paths);
    return true;
}

static bool fill_arrays(struct draft_arrays *a, const struct export_draft *draft, struct error *err)
{
    add_path(&a->email_path, &draft->email_path);
    fill_segments(a, draft);
    array_open(&a->targets);
    array_open(&a->names);
    for (size_t i = 0; i < draft->n_fields; i++) {
        add_string(&a->targets, draft->fields[i].target);
        add_string(&a->names, draft->fields[i].name);
    }
    array_close(&a->targets);
    array_close(&a->names);
    return fill_paths(a, draft, err);
}

/* Null where the draft has no value. */
static bool args_optional_array(struct args *args, bool given, const struct strbuf *array,
                                struct error *err)
{
    if (given)
        return args_array(args, array, err);
    args_text(args, NULL);
    return true;
}

/* Settings of the export's guards; null: nothing. */
static void args_guards(struct args *args, const struct export_draft *draft)
{
    if (draft->max_invalid_given)
        args_int64(args, draft->max_invalid_percent);
    else
        args_text(args, NULL);
    if (draft->size_guard_given)
        args_bool(args, draft->size_guard);
    else
        args_text(args, NULL);
    args_text(args, draft->plan);
    args_text(args, draft->flows_known ? "t" : NULL);
}

static bool args_draft(struct args *args, const struct export_draft *draft, struct draft_arrays *a,
                       struct error *err)
{
    bool fields = draft->n_fields > 0 || draft->replace_fields;

    if (!fill_arrays(a, draft, err))
        return false;
    args_text(args, draft->name);
    args_text(args, draft->connection);
    args_text(args, draft->list_id);
    if (!args_optional_array(args, draft->email_path.n > 0, &a->email_path, err))
        return false;
    if (draft->max_profiles > 0)
        args_int64(args, draft->max_profiles);
    else
        args_text(args, NULL);
    if (!args_optional_array(args, draft->n_segments > 0, &a->segments, err))
        return false;
    args_bool(args, draft->allow_phone_number);
    if (!args_optional_array(args, fields, &a->targets, err) ||
        !args_optional_array(args, fields, &a->names, err) ||
        !args_optional_array(args, fields, &a->paths, err))
        return false;
    args_guards(args, draft);
    args_text(args, draft->on_leave);
    return true;
}

/* -- one statement each -- */

/* The statement may have been committed: repeated, it would speak of what it had done itself. */
static bool answer_lost(struct error *err)
{
    return error_wrap(err, "the connection broke before the answer came, and nobody knows whether "
                           "it was done: look with klaviyo-worker export list");
}

/* A worker that writes for the export may hold a lock for a moment. */
static bool query_patiently(struct db *db, const char *sql, const struct args *args,
                            PGresult **rows, struct error *err)
{
    struct error why = ERROR_INIT;

    for (int i = 0; i < ATTEMPTS; i++) {
        why = ERROR_INIT;
        if (db_query(db, sql, args, rows, &why))
            return true;
        if (why.kind != ERROR_RETRY || !db_is_up(db))
            break;
    }
    *err = why;
    return db_is_up(db) ? false : answer_lost(err);
}

static bool query_draft(struct db *db, const char *sql, const struct export_draft *draft,
                        PGresult **rows, struct error *err)
{
    CLEANUP(draft_arrays_release)
    struct draft_arrays arrays = { STRBUF_INIT(PATH_MAX_BYTES), STRBUF_INIT(ARRAY_MAX_BYTES),
                                   STRBUF_INIT(ARRAY_MAX_BYTES), STRBUF_INIT(ARRAY_MAX_BYTES),
                                   STRBUF_INIT(ARRAY_MAX_BYTES) };
    struct args args = ARGS_INIT;

    if (draft->connection && !check_connection(db, draft->connection, err))
        return false;
    if (args_draft(&args, draft, &arrays, err) && query_patiently(db, sql, &args, rows, err))
        return true;
    return error_wrap(err, "export %s", draft->name);
}

bool exports_look(struct db *db, const struct export_draft *draft, char **json, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    return query_draft(db, draft->is_new ? look_new_sql : look_sql, draft, &rows, err) &&
           result_copy_text(rows, 0, 0, json, err);
}

bool exports_add(struct db *db, const struct export_draft *draft, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!query_draft(db, add_sql, draft, &rows, err))
        return false;
    return !result_is_null(rows, 0, 0) ||
           error_set(err, ERROR_INPUT,
                     "there is an export %s already: choose another name, or change it with "
                     "export update",
                     draft->name);
}

bool exports_update(struct db *db, const struct export_draft *draft, int64_t *runs_ended,
                    struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!query_draft(db, change_sql, draft, &rows, err))
        return false;
    if (result_is_null(rows, 0, 0))
        return exports_missing(db, draft->name, err);
    *runs_ended = result_int64(rows, 0, 0);
    return true;
}

static bool change_by_name(struct db *db, const char *sql, const char *name, int64_t *runs_ended,
                           struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!query_patiently(db, sql, &args, &rows, err))
        return error_wrap(err, "export %s", name);
    if (result_is_null(rows, 0, 0))
        return exports_missing(db, name, err);
    *runs_ended = result_int64(rows, 0, 0);
    return true;
}

bool exports_expect(struct db *db, const char *name, int64_t seconds, bool *changed,
                    struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    args_int64(&args, seconds);
    if (!query_patiently(db, expect_sql, &args, &rows, err))
        return error_wrap(err, "export %s", name);
    if (result_is_null(rows, 0, 0))
        return exports_missing(db, name, err);
    *changed = result_int64(rows, 0, 0) == 0;
    return true;
}

bool exports_pause(struct db *db, const char *name, int64_t *runs_ended, struct error *err)
{
    return change_by_name(db, pause_sql, name, runs_ended, err);
}

bool exports_resume(struct db *db, const char *name, struct error *err)
{
    int64_t none;

    return change_by_name(db, resume_sql, name, &none, err);
}

bool exports_remove(struct db *db, const char *name, int64_t *runs_ended, struct error *err)
{
    return change_by_name(db, remove_sql, name, runs_ended, err);
}
