#include "worker/store/runs.h"

#include <assert.h>
#include <stdlib.h>

#include "common/failpoint.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

static const char take_sql[] = "select run_id, epoch, export_id, taken_over, closed"
                               " from klaviyo.take_run($1, $2::bigint, $3::integer, $4::boolean,"
                               " $5::boolean)";

static const char load_sql[] =
    "select r.full_refresh, r.first_batch, x.max_profiles, r.idle_ms, c.connection_id,"
    " x.list_name is not null, x.name, c.name, x.list_id,"
    " coalesce(c.account_id, 'connection:' || c.connection_id),"
    " (select q.traceparent from klaviyo.request_run a join klaviyo.request q using (request_id)"
    "  where a.run_id = r.run_id order by q.request_id desc limit 1),"
    " encode(x.fingerprint_key, 'hex'), encode(k.sealed_key, 'hex')"
    " from klaviyo.run r join klaviyo.export x using (export_id)"
    " join klaviyo.connection c using (connection_id)"
    " left join klaviyo.connection_key k using (connection_id)"
    " where r.run_id = $1 and r.epoch = $2";

static const char fields_sql[] = "select target = 'property', name from klaviyo.export_field"
                                 " where export_id = $1 order by position";

static const char beat_sql[] =
    "update klaviyo.run set"
    " lease_until = clock_timestamp() + $3::bigint * interval '1 ms',"
    " waiting_until = case when $4::bigint > 0"
    "                 then clock_timestamp() + $4::bigint * interval '1 ms' end,"
    " idle_ms = $5, takes_without_progress = case when $6 then 0 else takes_without_progress end,"
    " read_rows = case when planned then read_rows else $7 end,"
    " invalid_rows = case when planned then invalid_rows else $8 end,"
    " duplicate_rows = case when planned then duplicate_rows else $9 end,"
    " unchanged_rows = case when planned then unchanged_rows else $10 end,"
    " selected_rows = case when planned then selected_rows else $11 end,"
    " requests = requests + $12, throttled = throttled + $13, retries = retries + $14"
    " where run_id = $1 and epoch = $2 returning cancelled_by";

static const char note_backend_sql[] =
    "update klaviyo.run set backends = backends || pg_backend_pid()"
    " where run_id = $1 and epoch = $2 returning run_id";

static const char begin_plan_sql[] =
    "with " FENCE ", forgotten as (delete from klaviyo.rejection j using fence f"
    " where j.run_id = f.run_id and j.stage = 'local' and j.epoch < $2)"
    " select run_id from fence";

static const char end_plan_sql[] =
    "update klaviyo.run set planned = true, read_rows = $3, invalid_rows = $4,"
    " duplicate_rows = $5, unchanged_rows = $6, selected_rows = $7, left_rows = $8, kept_rows = $8"
    " where run_id = $1 and epoch = $2 returning run_id";

static const char end_sql[] = "select klaviyo.end_run($1, $2::integer, $3, $4, $5)";

static const char give_back_sql[] =
    "update klaviyo.run set lease_until = '-infinity', backends = '{}'"
    " where run_id = $1 and epoch = $2 returning run_id";

static const char attention_sql[] = "select klaviyo.mark_attention($1, $2)";

static const char list_name_sql[] = "update klaviyo.export set list_name = $2,"
                                    " list_checked_at = now() where export_id = $1";

void run_task_free(struct run_task *task)
{
    if (!task)
        return;
    for (size_t i = 0; i < task->n_fields; i++)
        free(task->fields[i].name);
    free(task->fields);
    free(task->export_name);
    free(task->connection_name);
    free(task->list_id);
    free(task->account);
    free(task->traceparent);
    free(task->sealed_key);
    free(task);
}

static bool copy_text(char **out, const PGresult *rows, int column, struct error *err)
{
    const char *text = row_text(rows, 0, column);

    *out = text ? strdup(text) : NULL;
    return *out || !text || error_no_memory(err);
}

static unsigned char nibble(char digit)
{
    return (unsigned char)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static void decode_hex(const char *hex, unsigned char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
}

static bool read_sealed_key(struct run_task *task, const char *hex, struct error *err)
{
    if (!hex)
        return true;
    task->sealed_key_len = strlen(hex) / 2;
    task->sealed_key = malloc(task->sealed_key_len + 1);
    if (!task->sealed_key)
        return error_no_memory(err);
    decode_hex(hex, task->sealed_key, task->sealed_key_len);
    return true;
}

static bool load_settings(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(rows_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->run_id);
    args_int64(&args, task->epoch);
    if (!db_query(db, load_sql, &args, &rows, err))
        return false;
    if (rows_count(rows) == 0)
        return error_lost(err);

    task->full = row_bool(rows, 0, 0);
    task->first_batch = row_int64(rows, 0, 1);
    task->max_profiles = row_int64(rows, 0, 2);
    task->idle_ms = row_int64(rows, 0, 3);
    task->connection_id = row_int64(rows, 0, 4);
    task->list_known = row_bool(rows, 0, 5);
    decode_hex(row_text(rows, 0, 11), task->fingerprint_key, FINGERPRINT_KEY_BYTES);
    return copy_text(&task->export_name, rows, 6, err) &&
           copy_text(&task->connection_name, rows, 7, err) &&
           copy_text(&task->list_id, rows, 8, err) && copy_text(&task->account, rows, 9, err) &&
           copy_text(&task->traceparent, rows, 10, err) &&
           read_sealed_key(task, row_text(rows, 0, 12), err);
}

static bool load_fields(struct db *db, struct run_task *task, struct error *err)
{
    CLEANUP(rows_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->export_id);
    if (!db_query(db, fields_sql, &args, &rows, err))
        return false;

    size_t n = (size_t)rows_count(rows);
    task->fields = calloc(n + 1, sizeof *task->fields);
    if (!task->fields)
        return error_no_memory(err);
    task->n_fields = n;
    for (size_t i = 0; i < n; i++) {
        task->fields[i].is_property = row_bool(rows, (int)i, 0);
        task->fields[i].name = strdup(row_text(rows, (int)i, 1));
        if (!task->fields[i].name)
            return error_no_memory(err);
    }
    return true;
}

static bool query_take(struct db *db, const struct run_taker *taker, PGresult **rows,
                       struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, taker->worker);
    args_int64(&args, taker->lease_ms);
    args_int64(&args, taker->key_pair_id);
    args_bool(&args, taker->recover);
    args_bool(&args, taker->short_only);
    return FAILPOINT_AROUND("take", db_query(db, take_sql, &args, rows, err));
}

bool runs_take(struct db *db, const struct run_taker *taker, enum run_take *what,
               struct run_task **task, struct error *err)
{
    CLEANUP(rows_freep) PGresult *rows = NULL;
    CLEANUP(run_task_freep) struct run_task *taken = calloc(1, sizeof *taken);

    if (!taken)
        return error_no_memory(err);
    if (!query_take(db, taker, &rows, err))
        return false;
    if (rows_count(rows) == 0 || row_bool(rows, 0, 4)) {
        *what = rows_count(rows) == 0 ? RUN_TAKE_NONE : RUN_TAKE_CLOSED;
        return true;
    }

    taken->run_id = row_int64(rows, 0, 0);
    taken->epoch = (int32_t)row_int64(rows, 0, 1);
    taken->export_id = row_int64(rows, 0, 2);
    taken->taken_over = row_bool(rows, 0, 3);
    if (!load_settings(db, taken, err) || !load_fields(db, taken, err))
        return false;
    *what = RUN_TAKE_TASK;
    *task = run_task_take(&taken);
    return true;
}

bool runs_beat(struct db *db, const struct run_task *task, const struct run_beat *beat,
               char **cancelled_by, struct error *err)
{
    CLEANUP(rows_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, beat->lease_ms);
    args_int64(&args, beat->waiting_ms);
    args_int64(&args, beat->idle_ms);
    args_bool(&args, beat->progress);
    args_int64(&args, beat->counts.read);
    args_int64(&args, beat->counts.invalid);
    args_int64(&args, beat->counts.duplicate);
    args_int64(&args, beat->counts.unchanged);
    args_int64(&args, beat->counts.selected);
    args_int64(&args, beat->requests);
    args_int64(&args, beat->throttled);
    args_int64(&args, beat->retries);
    return FAILPOINT_AROUND("beat", db_fenced(db, beat_sql, &args, &rows, err)) &&
           copy_text(cancelled_by, rows, 0, err);
}

static bool run_fenced(struct db *db, const char *sql, const struct run_task *task,
                       struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    return db_fenced(db, sql, &args, NULL, err);
}

bool runs_note_backend(struct db *db, const struct run_task *task, struct error *err)
{
    return run_fenced(db, note_backend_sql, task, err);
}

bool runs_begin_plan(struct db *db, const struct run_task *task, struct error *err)
{
    return run_fenced(db, begin_plan_sql, task, err);
}

bool runs_end_plan(struct db *db, const struct run_task *task, const struct run_counts *counts,
                   struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, counts->read);
    args_int64(&args, counts->invalid);
    args_int64(&args, counts->duplicate);
    args_int64(&args, counts->unchanged);
    args_int64(&args, counts->selected);
    args_int64(&args, counts->left);
    return FAILPOINT_AROUND("end_plan", db_fenced(db, end_plan_sql, &args, NULL, err));
}

bool runs_end(struct db *db, const struct run_task *task, const char *state, const char *reason,
              const char *detail, enum run_end *how, struct error *err)
{
    CLEANUP(rows_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_text(&args, state);
    args_text(&args, reason);
    args_text(&args, detail);
    if (!FAILPOINT_AROUND("end_run", db_query(db, end_sql, &args, &rows, err)))
        return false;
    const char *answer = row_text(rows, 0, 0);
    if (strcmp(answer, "lost") == 0)
        return error_lost(err);
    *how = strcmp(answer, "unfinished") == 0 ? RUN_END_UNFINISHED : RUN_END_DONE;
    return true;
}

bool runs_give_back(struct db *db, const struct run_task *task, struct error *err)
{
    return run_fenced(db, give_back_sql, task, err);
}

bool runs_mark_attention(struct db *db, const struct run_task *task, const char *reason,
                         struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task->connection_id);
    args_text(&args, reason);
    return db_query(db, attention_sql, &args, NULL, err);
}

bool runs_store_list_name(struct db *db, const struct run_task *task, const char *name,
                          struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task->export_id);
    args_text(&args, name);
    return db_query(db, list_name_sql, &args, NULL, err);
}
