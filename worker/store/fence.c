#include "worker/store/fence.h"

bool error_lost(struct error *err)
{
    return error_set(err, ERROR_LOST, "the run is no longer this worker's");
}

void args_fence(struct args *args, const struct run_task *task)
{
    args_int64(args, task->run_id);
    args_text(args, task->take_id);
}

bool db_fenced(struct db *db, const char *sql, const struct args *args, PGresult **out,
               struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, sql, args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_lost(err);
    if (out) {
        *out = rows;
        rows = NULL;
    }
    return true;
}

bool db_fenced_await(struct db *db, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    return db_await(db, &rows, err) && (result_rows(rows) > 0 || error_lost(err));
}
