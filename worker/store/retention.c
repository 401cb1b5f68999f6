#include "worker/store/retention.h"

#include "worker/store/statement.h"

enum {
    ROWS_A_CALL = 1000,
    ADDRESS_DAYS = 14, /* that the addresses of rejections are kept */
};

static const char requests_sql[] =
    "delete from klaviyo.request where request_id in (select request_id from klaviyo.request"
    " where ended_at < now() - $1::bigint * interval '1 day' and state <> 'dead_letter_due'"
    " limit $2 for update skip locked)";

/* A run that a request still names answers for it. */
static const char runs_sql[] =
    "delete from klaviyo.run where run_id in (select r.run_id from klaviyo.run r"
    " where r.finished_at < now() - $1::bigint * interval '1 day'"
    " and not exists (select from klaviyo.request_run a where a.run_id = r.run_id)"
    " limit $2 for update skip locked)";

static bool delete_some(struct db *db, const char *sql, int64_t days, bool *more, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, days);
    args_int64(&args, ROWS_A_CALL);
    if (!db_query(db, sql, &args, &rows, err))
        return false;
    *more = result_rows_affected(rows) == ROWS_A_CALL;
    return true;
}

static bool unname_some(struct db *db, bool *more, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, ADDRESS_DAYS);
    args_int64(&args, ROWS_A_CALL);
    if (!db_query(db, "select klaviyo.unname_rejections($1::integer, $2::integer)", &args, &rows,
                  err))
        return false;
    *more = result_bool(rows, 0, 0);
    return true;
}

/* Their answers may hold values of members. */
static bool delete_tasks(struct db *db, struct error *err)
{
    return db_query(db, "delete from klaviyo.task where created_at < now() - interval '1 day'",
                    NULL, NULL, err) &&
           db_query(db, "delete from klaviyo.task_worker where seen_at < now() - interval '1 day'",
                    NULL, NULL, err);
}

bool retention_apply(struct db *db, int64_t days, bool *more, struct error *err)
{
    bool more_requests, more_runs, more_names;

    if (!delete_tasks(db, err) || !delete_some(db, requests_sql, days, &more_requests, err) ||
        !delete_some(db, runs_sql, days, &more_runs, err) || !unname_some(db, &more_names, err))
        return false;
    *more = more_requests || more_runs || more_names;
    return true;
}

bool retention_settle_missed(struct db *db, int64_t *settled, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, ROWS_A_CALL);
    if (!db_query(db, "select klaviyo.settle_missed($1)", &args, &rows, err))
        return false;
    *settled = result_int64(rows, 0, 0);
    return true;
}
