#include "worker/store/run_task.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "worker/store/exports.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

/* The columns of run_sql, in its order; so for the statements below. */
enum run_column {
    RUN_COLUMN_FULL,
    RUN_COLUMN_FIRST_BATCH,
    RUN_COLUMN_IDLE_MS,
    RUN_COLUMN_PLANNED,
    RUN_COLUMN_ATTEMPTS,
    RUN_COLUMN_TROUBLE,
    RUN_COLUMN_WAIT_REASON,
    RUN_COLUMN_WAIT_SINCE,
    RUN_COLUMN_WAIT_LOGGED,
    RUN_COLUMN_TRACEPARENT,
    RUN_COLUMN_CONFIRMS_REMOVALS,
    RUN_COLUMN_REMOVED,
    RUN_COLUMN_IS_TRIAL,
    RUN_COLUMN_MEMBERS,
    RUN_COLUMN_INVALID,
    RUN_COLUMN_LEFT,
    RUN_COLUMN_THERE,
};
static const char run_sql[] =
    "select r.full_refresh, r.first_batch, r.idle_ms, r.planned, r.attempts,"
    " case when r.attempts > 0 then r.trouble end, r.wait_reason,"
    " (extract(epoch from r.wait_since) * 1000000)::bigint,"
    " (extract(epoch from clock_timestamp() - r.wait_logged_at) * 1000)::bigint,"
    " (select q.traceparent from klaviyo.request_run a join klaviyo.request q using (request_id)"
    "  where a.run_id = r.run_id order by q.request_id desc limit 1),"
    " r.confirm_removals or exists (select from klaviyo.removal_confirmation c"
    "  where c.export_id = r.export_id), r.removed_rows, r.is_trial,"
    " coalesce(r.member_rows, r.read_rows), r.invalid_rows, r.left_rows, r.there_rows"
    " from klaviyo.run r where r.run_id = $1 and r.take_id = $2::uuid";

enum export_column {
    EXPORT_COLUMN_MAX_PROFILES,
    EXPORT_COLUMN_CONNECTION_ID,
    EXPORT_COLUMN_LIST_KNOWN,
    EXPORT_COLUMN_NAME,
    EXPORT_COLUMN_CONNECTION_NAME,
    EXPORT_COLUMN_LIST_ID,
    EXPORT_COLUMN_ACCOUNT,
    EXPORT_COLUMN_FINGERPRINT_KEY,
    EXPORT_COLUMN_EMAIL_IS_PROFILE_ID,
    EXPORT_COLUMN_REMOVES_LEAVERS,
    EXPORT_COLUMN_ACCOUNT_KNOWN,
};
static const char export_sql[] =
    "select x.max_profiles, c.connection_id, x.list_name is not null, x.name, c.name, x.list_id,"
    " coalesce(c.account_id, 'connection:' || c.connection_id),"
    " encode(x.fingerprint_key, 'hex'), x.email_path = '{@profile_id}',"
    " x.on_leave = 'remove', c.account_id is not null"
    " from klaviyo.export x join klaviyo.connection c using (connection_id)"
    " where x.export_id = $1";

enum guards_column {
    GUARDS_COLUMN_EMAIL_FIELD,
    GUARDS_COLUMN_MAX_INVALID,
    GUARDS_COLUMN_SIZE_GUARD,
    GUARDS_COLUMN_PLAN,
    GUARDS_COLUMN_FLOWS_KNOWN,
    GUARDS_COLUMN_CONFIRMED,
    GUARDS_COLUMN_TRIAL,
    GUARDS_COLUMN_PASSED,
    GUARDS_COLUMN_LAST_DISTINCT,
};
/* $2: the run; one that is not there for a preview. The last success outlives its run. */
static const char guards_sql[] =
    "select klaviyo.path_text(x.email_path), x.max_invalid, x.size_guard, x.plan, x.flows_known,"
    " array_to_string(r.confirm, ','), coalesce(r.trigger = 'trial', false),"
    " exists (select from klaviyo.batch b where b.run_id = r.run_id"
    "  and (b.posted_at is not null or b.state <> 'planned')),"
    " coalesce((select klaviyo.distinct_rows(o) from klaviyo.run o"
    "  where o.export_id = x.export_id and o.run_id <> $2 and o.trigger <> 'trial'"
    "  and o.state in ('succeeded', 'succeeded_with_rejections') order by o.run_id desc limit 1),"
    "  s.distinct_rows)"
    " from klaviyo.export x left join klaviyo.export_success s using (export_id)"
    " left join klaviyo.run r on r.run_id = $2 where x.export_id = $1";

static const char key_sql[] = "select encode(sealed_key, 'hex') from klaviyo.connection_key"
                              " where connection_id = $1";

enum field_column {
    FIELD_COLUMN_IS_PROPERTY,
    FIELD_COLUMN_NAME,
    FIELD_COLUMN_IS_PROFILE_ID,
    FIELD_COLUMN_VALUE,
    FIELD_COLUMN_WORDS,
};
/*
 * The address, then the fields in their order; each with the value at its path as jsonb, and
 * as text. An arrow for each part costs less than one operator with all of them; it does not
 * take a number as an array index, though. Made here and not where the members are
 * read: on a connection that has just been opened it takes milliseconds.
 */
static const char fields_sql[] =
    "select target = 'property', name, path = '{@profile_id}',"
    " case when path = '{@profile_id}' then 'to_jsonb(profile_id::text)'"
    " when e.plain then '(attributes::jsonb' || e.value || ')'"
    " else format('(attributes::jsonb #> %L::text[])', path) end,"
    " case when path = '{@profile_id}' then 'profile_id::text'"
    " when e.plain then '(attributes::jsonb' || e.words || ')'"
    " else format('(attributes::jsonb #>> %L::text[])', path) end"
    " from (select 0 as kind, 0 as position, null as target, null as name, email_path as path"
    " from klaviyo.export where export_id = $1"
    " union all select 1, position, target, name, path from klaviyo.export_field"
    " where export_id = $1) p,"
    " lateral (select bool_and(part !~ '^[[:space:]]*[-+]?[0-9]+$') as plain,"
    " string_agg(' -> ' || quote_literal(part), '' order by n) as value,"
    " string_agg(case when n = cardinality(path) then ' ->> ' else ' -> ' end"
    " || quote_literal(part), '' order by n) as words"
    " from unnest(path) with ordinality as u(part, n)) e"
    " order by kind, position";

static const char find_sql[] = "select export_id from klaviyo.export where name = $1";

static void release_source(struct source_value *source)
{
    free(source->value);
    free(source->words);
}

void run_task_free(struct run_task *task)
{
    if (!task)
        return;
    for (size_t i = 0; i < task->n_fields; i++) {
        free(task->fields[i].name);
        release_source(&task->fields[i].source);
    }
    free(task->fields);
    release_source(&task->address);
    free(task->export_name);
    free(task->connection_name);
    free(task->list_id);
    free(task->account);
    free(task->traceparent);
    free(task->email_field);
    free(task->resume.trouble);
    free(task->sealed_key);
    free(task);
}

static void decode_hex(const char *hex, unsigned char *out, size_t n)
{
    bool failed = sodium_hex2bin(out, n, hex, 2 * n, NULL, NULL, NULL) != 0;

    assert(!failed);
}

static bool load_key(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->connection_id);
    if (!db_query(db, key_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return true;
    const char *hex = result_text(rows, 0, 0);
    task->sealed_key_len = strlen(hex) / 2;
    task->sealed_key = malloc(task->sealed_key_len + 1);
    if (!task->sealed_key)
        return error_no_memory(err);
    decode_hex(hex, task->sealed_key, task->sealed_key_len);
    return true;
}

static bool read_resume(const PGresult *rows, struct run_resume *resume, struct error *err)
{
    resume->idle_ms = result_int64(rows, 0, RUN_COLUMN_IDLE_MS);
    resume->planned = result_bool(rows, 0, RUN_COLUMN_PLANNED);
    resume->members = result_int64(rows, 0, RUN_COLUMN_MEMBERS);
    resume->invalid = result_int64(rows, 0, RUN_COLUMN_INVALID);
    resume->left = result_int64(rows, 0, RUN_COLUMN_LEFT);
    resume->there = result_int64(rows, 0, RUN_COLUMN_THERE);
    resume->attempts = (unsigned)result_int64(rows, 0, RUN_COLUMN_ATTEMPTS);
    resume->wait_reason = run_reason_of(result_text(rows, 0, RUN_COLUMN_WAIT_REASON));
    resume->wait_since_us = result_int64(rows, 0, RUN_COLUMN_WAIT_SINCE);
    resume->wait_logged_ms = result_int64(rows, 0, RUN_COLUMN_WAIT_LOGGED);
    return result_copy_text(rows, 0, RUN_COLUMN_TROUBLE, &resume->trouble, err);
}

static bool load_run(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    if (!db_query(db, run_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_lost(err);
    task->full = result_bool(rows, 0, RUN_COLUMN_FULL);
    task->first_batch = result_int64(rows, 0, RUN_COLUMN_FIRST_BATCH);
    task->confirms_removals = result_bool(rows, 0, RUN_COLUMN_CONFIRMS_REMOVALS);
    task->removed = result_int64(rows, 0, RUN_COLUMN_REMOVED);
    task->is_trial = result_bool(rows, 0, RUN_COLUMN_IS_TRIAL);
    return read_resume(rows, &task->resume, err) &&
           result_copy_text(rows, 0, RUN_COLUMN_TRACEPARENT, &task->traceparent, err);
}

static bool load_export(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->export_id);
    if (!db_query(db, export_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_lost(err);
    task->max_profiles = result_int64(rows, 0, EXPORT_COLUMN_MAX_PROFILES);
    task->connection_id = result_int64(rows, 0, EXPORT_COLUMN_CONNECTION_ID);
    task->list_known = result_bool(rows, 0, EXPORT_COLUMN_LIST_KNOWN);
    task->email_is_profile_id = result_bool(rows, 0, EXPORT_COLUMN_EMAIL_IS_PROFILE_ID);
    task->removes_leavers = result_bool(rows, 0, EXPORT_COLUMN_REMOVES_LEAVERS) && !task->is_trial;
    task->account_known = result_bool(rows, 0, EXPORT_COLUMN_ACCOUNT_KNOWN);
    decode_hex(result_text(rows, 0, EXPORT_COLUMN_FINGERPRINT_KEY), task->fingerprint_key,
               FINGERPRINT_KEY_BYTES);
    return result_copy_text(rows, 0, EXPORT_COLUMN_NAME, &task->export_name, err) &&
           result_copy_text(rows, 0, EXPORT_COLUMN_CONNECTION_NAME, &task->connection_name, err) &&
           result_copy_text(rows, 0, EXPORT_COLUMN_LIST_ID, &task->list_id, err) &&
           result_copy_text(rows, 0, EXPORT_COLUMN_ACCOUNT, &task->account, err);
}

static bool load_guards(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->export_id);
    args_int64(&args, task->run_id);
    if (!db_query(db, guards_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_lost(err);
    task->guards = (struct guard_rules){
        .max_invalid_percent = result_int64(rows, 0, GUARDS_COLUMN_MAX_INVALID),
        .size_guard = result_bool(rows, 0, GUARDS_COLUMN_SIZE_GUARD),
        .flows_known = result_bool(rows, 0, GUARDS_COLUMN_FLOWS_KNOWN),
        .confirmed = guard_set_read(result_text(rows, 0, GUARDS_COLUMN_CONFIRMED)),
        .trial = result_bool(rows, 0, GUARDS_COLUMN_TRIAL),
        .passed = result_bool(rows, 0, GUARDS_COLUMN_PASSED),
        .last_distinct = result_is_null(rows, 0, GUARDS_COLUMN_LAST_DISTINCT)
                             ? -1
                             : result_int64(rows, 0, GUARDS_COLUMN_LAST_DISTINCT),
    };
    (void)guard_plan_find(result_text(rows, 0, GUARDS_COLUMN_PLAN), &task->guards.plan);
    return result_copy_text(rows, 0, GUARDS_COLUMN_EMAIL_FIELD, &task->email_field, err);
}

static bool read_source(const PGresult *rows, int row, struct source_value *source,
                        struct error *err)
{
    return result_copy_text(rows, row, FIELD_COLUMN_VALUE, &source->value, err) &&
           result_copy_text(rows, row, FIELD_COLUMN_WORDS, &source->words, err);
}

static bool read_field(const PGresult *rows, int row, struct export_field *field, struct error *err)
{
    field->is_property = result_bool(rows, row, FIELD_COLUMN_IS_PROPERTY);
    field->is_profile_id = result_bool(rows, row, FIELD_COLUMN_IS_PROFILE_ID);
    return result_copy_text(rows, row, FIELD_COLUMN_NAME, &field->name, err) &&
           read_source(rows, row, &field->source, err);
}

static bool load_fields(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->export_id);
    if (!db_query(db, fields_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_lost(err);

    size_t n = (size_t)result_rows(rows) - 1;
    task->fields = calloc(n + 1, sizeof *task->fields);
    if (!task->fields)
        return error_no_memory(err);
    task->n_fields = n;
    for (size_t i = 0; i < n; i++)
        if (!read_field(rows, (int)i + 1, &task->fields[i], err))
            return false;
    return read_source(rows, 0, &task->address, err);
}

bool run_task_load(struct db *db, struct run_task *task, struct error *err)
{
    return load_run(db, task, err) && load_export(db, task, err) && load_key(db, task, err) &&
           load_guards(db, task, err) && load_fields(db, task, err);
}

bool run_task_for_preview(struct db *db, const char *export_name, struct run_task **out,
                          struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(run_task_freep) struct run_task *task = calloc(1, sizeof *task);
    struct args args = ARGS_INIT;

    if (!task)
        return error_no_memory(err);
    args_text(&args, export_name);
    if (!db_query(db, find_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return exports_missing(db, export_name, err);
    task->export_id = result_int64(rows, 0, 0);
    task->first_batch = INT64_MAX; /* no batch is this run's */
    if (!load_export(db, task, err) || !load_guards(db, task, err) || !load_fields(db, task, err))
        return false;
    *out = run_task_take(&task);
    return true;
}
