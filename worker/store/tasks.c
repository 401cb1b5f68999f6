#include "worker/store/tasks.h"

#include <stdlib.h>

#include "worker/store/document.h"
#include "worker/store/statement.h"

enum { KINDS_MAX_BYTES = 4096 };

static const char standing_sql[] =
    "select klaviyo.is_admin(current_user) or pg_has_role(current_user, 'klaviyo_contributor', 'usage'),"
    " pg_has_role(current_user, 'klaviyo_worker', 'usage'), klaviyo.is_task_served($1)";

static const char add_sql[] = "select klaviyo.add_task($1, $2, $3::jsonb)";
static const char look_sql[] = "select klaviyo.look_at_task($1)";
static const char drop_sql[] = "select klaviyo.drop_task($1)";

static const char take_sql[] = "select task_id, token, kind, arguments from"
                               " klaviyo.take_task($1, $2::bigint, $3::integer, $4::text[])";

static const char renew_sql[] = "select klaviyo.renew_task($1, $2::integer, $3::bigint, $4::jsonb)";

static const char end_sql[] =
    "select klaviyo.end_task($1, $2::integer, $3::jsonb, $4, $5::boolean)";

static const char give_back_sql[] = "select klaviyo.give_back_task($1, $2::integer)";
static const char leave_sql[] = "delete from klaviyo.task_worker where worker = $1";

/* -- for the command that asks -- */

bool tasks_standing(struct db *db, const char *kind, struct task_standing *standing,
                    struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, kind);
    if (!db_query(db, standing_sql, &args, &rows, err))
        return false;
    *standing = (struct task_standing){ .may_ask = result_bool(rows, 0, 0),
                                        .may_do = result_bool(rows, 0, 1),
                                        .served = result_bool(rows, 0, 2) };
    return true;
}

bool tasks_add(struct db *db, const char *kind, const char *name, const char *arguments,
               int64_t *task_id, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, kind);
    args_text(&args, name);
    args_text(&args, arguments);
    if (!db_query(db, add_sql, &args, &rows, err))
        return false;
    *task_id = result_int64(rows, 0, 0);
    return true;
}

bool tasks_look(struct db *db, int64_t task_id, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task_id);
    return db_query_document(db, look_sql, &args, json, err);
}

bool tasks_drop(struct db *db, int64_t task_id, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task_id);
    return db_query(db, drop_sql, &args, NULL, err);
}

/* -- for the worker that does it -- */

void task_free(struct task *task)
{
    if (!task)
        return;
    free(task->kind);
    free(task->arguments);
    free(task);
}

static bool read_task(const PGresult *rows, struct task **out, struct error *err)
{
    CLEANUP(task_freep) struct task *task = calloc(1, sizeof *task);

    if (!task)
        return error_no_memory(err);
    task->task_id = result_int64(rows, 0, 0);
    task->token = result_int64(rows, 0, 1);
    if (!result_copy_text(rows, 0, 2, &task->kind, err) ||
        !result_copy_text(rows, 0, 3, &task->arguments, err))
        return false;
    *out = task_take(&task);
    return true;
}

static bool args_kinds(struct args *args, struct strbuf *array, const char *const *kinds,
                       struct error *err)
{
    array_open(array);
    for (; *kinds; kinds++)
        array_text(array, *kinds, strlen(*kinds));
    array_close(array);
    return args_array(args, array, err);
}

bool tasks_take(struct db *db, const struct task_taker *taker, struct task **task,
                struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(strbuf_release) struct strbuf kinds = STRBUF_INIT(KINDS_MAX_BYTES);
    struct args args = ARGS_INIT;

    args_text(&args, taker->worker);
    args_int64(&args, taker->lease_ms);
    args_int64(&args, taker->key_pair_id);
    if (!args_kinds(&args, &kinds, taker->kinds, err) || !db_query(db, take_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) > 0)
        return read_task(rows, task, err);
    *task = NULL;
    return true;
}

static bool task_lost(struct error *err)
{
    return error_set(err, ERROR_LOST, "the task is no longer this worker's");
}

bool tasks_renew(struct db *db, const struct task *task, int64_t lease_ms, const char *progress,
                 bool *dropped, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->task_id);
    args_int64(&args, task->token);
    args_int64(&args, lease_ms);
    args_text(&args, progress);
    if (!db_query(db, renew_sql, &args, &rows, err))
        return false;
    if (result_is_null(rows, 0, 0))
        return task_lost(err);
    *dropped = result_bool(rows, 0, 0);
    return true;
}

bool tasks_end(struct db *db, const struct task *task, const struct task_ending *ending,
               struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->task_id);
    args_int64(&args, task->token);
    args_text(&args, ending->answer);
    args_text(&args, ending->error);
    args_bool(&args, ending->again);
    if (!db_query(db, end_sql, &args, &rows, err))
        return false;
    return result_bool(rows, 0, 0) || task_lost(err);
}

bool tasks_give_back(struct db *db, const struct task *task, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task->task_id);
    args_int64(&args, task->token);
    return db_query(db, give_back_sql, &args, NULL, err);
}

bool tasks_leave(struct db *db, const char *worker, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, worker);
    return db_query(db, leave_sql, &args, NULL, err);
}
