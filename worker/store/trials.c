#include "worker/store/trials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/store/document.h"
#include "worker/store/exports.h"
#include "worker/store/statement.h"

static const char begin_sql[] =
    "select run_id, take_id, epoch, export_id, what, detail from"
    " klaviyo.begin_trial($1, $2, $3::bigint, $4::bigint, $5::integer, $6::jsonb, $7)";

static const char basis_sql[] = "select klaviyo.trial_basis($1, null)";

static const char retake_sql[] =
    "select run_id, take_id, epoch, export_id from klaviyo.retake_trial($1, $2, $3::bigint)";

static const char kept_sql[] = "select kept from klaviyo.task where task_id = $1";

static bool load(struct db *db, const PGresult *rows, struct run_task **out, struct error *err)
{
    CLEANUP(run_task_freep) struct run_task *run = calloc(1, sizeof *run);

    if (!run)
        return error_no_memory(err);
    run->run_id = result_int64(rows, 0, 0);
    (void)snprintf(run->take_id, sizeof run->take_id, "%s", result_text(rows, 0, 1));
    run->epoch = (int32_t)result_int64(rows, 0, 2);
    run->export_id = result_int64(rows, 0, 3);
    if (!run_task_load(db, run, err))
        return false;
    *out = run_task_take(&run);
    return true;
}

static bool refused(struct db *db, const struct trial_order *order, const PGresult *rows,
                    struct error *err)
{
    const char *what = result_text(rows, 0, 4);

    if (strcmp(what, "missing") == 0)
        return exports_missing(db, order->export_name, err);
    if (strcmp(what, "lost") == 0)
        return error_set(err, ERROR_LOST, "the task is no longer this worker's");
    return error_set(err, strcmp(what, "busy") == 0 ? ERROR_RETRY : ERROR_INPUT, "%s",
                     result_text(rows, 0, 5));
}

bool trials_basis(struct db *db, const char *export_name, char **basis, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, export_name);
    if (!db_query(db, basis_sql, &args, &rows, err))
        return false;
    if (result_is_null(rows, 0, 0))
        return exports_missing(db, export_name, err);
    return result_copy_text(rows, 0, 0, basis, err);
}

bool trials_begin(struct db *db, const struct trial_order *order, struct run_task **run,
                  struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, order->export_name);
    args_text(&args, order->worker);
    args_int64(&args, order->lease_ms);
    if (order->task) {
        args_int64(&args, order->task->task_id);
        args_int64(&args, order->task->token);
    } else {
        args_text(&args, NULL);
        args_text(&args, NULL);
    }
    args_text(&args, order->kept);
    args_text(&args, order->basis);
    if (!db_query(db, begin_sql, &args, &rows, err))
        return false;
    const char *what = result_text(rows, 0, 4);
    if (strcmp(what, "begun") == 0)
        return load(db, rows, run, err);
    if (strcmp(what, "changed") != 0)
        return refused(db, order, rows, err);
    *run = NULL;
    return true;
}

bool trials_retake(struct db *db, int64_t run_id, const struct trial_order *order,
                   struct run_task **run, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, run_id);
    args_text(&args, order->worker);
    args_int64(&args, order->lease_ms);
    if (!db_query(db, retake_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) > 0)
        return load(db, rows, run, err);
    *run = NULL;
    return true;
}

bool trials_kept(struct db *db, const struct task *task, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task->task_id);
    return db_query_document(db, kept_sql, &args, json, err);
}
