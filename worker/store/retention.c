#include "worker/store/retention.h"

#include "worker/store/statement.h"

enum { ROWS_A_CALL = 1000 };

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

bool retention_apply(struct db *db, int64_t days, bool *more, struct error *err)
{
    bool more_requests, more_runs;

    if (!delete_some(db, requests_sql, days, &more_requests, err) ||
        !delete_some(db, runs_sql, days, &more_runs, err))
        return false;
    *more = more_requests || more_runs;
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
