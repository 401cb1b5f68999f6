#include "worker/store/overview.h"

#include <stdlib.h>

#include "worker/store/document.h"
#include "worker/store/export_view.h"
#include "worker/store/shown_runs.h"
#include "worker/store/statement.h"
#include "worker/store/status_report.h"

static const char timeout_sql[] = "select set_config('statement_timeout', $1, true)";

/* As klaviyo.queued_run() has it. Oldest first: as a rule one is looked at. */
#define STARTABLE_SINCE                                                             \
    "(select q.queued_at from (select r.run_id, r.export_id, r.queued_at"           \
    " from klaviyo.run r where r.state = 'queued' order by r.queued_at offset 0) q" \
    " where case when exists (select from klaviyo.run o"                            \
    " where o.export_id = q.export_id and o.state = 'running') then false"          \
    " else not klaviyo.list_is_claimed(q.run_id) end order by q.queued_at limit 1)"

static const char count_sql[] =
    "select count(*) filter (where r.state = 'queued'),"
    " count(*) filter (where r.state = 'running'),"
    " count(*) filter (where klaviyo.shown_state(r) = 'waiting'),"
    " coalesce(extract(epoch from clock_timestamp()"
    " - min(r.queued_at) filter (where r.state = 'queued'))::bigint, 0),"
    " (select count(*) from klaviyo.connection c where c.attention_reason is not null),"
    " count(*) filter (where r.state = 'running' and r.wait_reason = 'klaviyo_unavailable'),"
    " count(*) filter (where r.state = 'running' and r.wait_reason = 'rate_limited'),"
    " count(*) filter (where r.state = 'running' and r.wait_reason = 'database_unavailable'),"
    " count(*) filter (where r.state = 'running' and r.wait_reason = 'list_in_use'),"
    " count(*) filter (where r.wait_reason = 'key_unreadable'),"
    " coalesce(extract(epoch from clock_timestamp()"
    " - (select min(o.ended_at) from klaviyo.outcome o))::bigint, 0),"
    " coalesce(extract(epoch from clock_timestamp() - " STARTABLE_SINCE ")::bigint, 0)"
    " from klaviyo.run r where r.state in ('queued', 'running')";

static const char runs_sql[] =
    "select coalesce(json_agg(klaviyo.run_json(r) order by r.run_id desc), '[]')"
    " from klaviyo.run r where r.run_id in (" SHOWN_RUNS("$1") ")";

static bool begin(struct db *db, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, OVERVIEW_TIMEOUT_MS);
    return db_begin_snapshot(db, err) && db_query(db, timeout_sql, &args, NULL, err);
}

static bool count(struct db *db, struct overview *overview, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, count_sql, NULL, &rows, err))
        return false;
    *overview = (struct overview){ .queued = result_int64(rows, 0, 0),
                                   .running = result_int64(rows, 0, 1),
                                   .waiting = result_int64(rows, 0, 2),
                                   .oldest_queued_s = result_int64(rows, 0, 3),
                                   .attention = result_int64(rows, 0, 4),
                                   .waiting_for_klaviyo = result_int64(rows, 0, 5),
                                   .waiting_for_limit = result_int64(rows, 0, 6),
                                   .waiting_for_database = result_int64(rows, 0, 7),
                                   .waiting_for_list = result_int64(rows, 0, 8),
                                   .waiting_for_key = result_int64(rows, 0, 9),
                                   .oldest_outcome_s = result_int64(rows, 0, 10),
                                   .oldest_startable_s = result_int64(rows, 0, 11) };
    return true;
}

static bool list_runs(struct db *db, char **runs, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, OVERVIEW_RUNS);
    return db_query_document(db, runs_sql, &args, runs, err);
}

void overview_lists_release(struct overview_lists *lists)
{
    free(lists->runs);
    free(lists->exports);
    free(lists->report);
    freshness_release(&lists->freshness);
    *lists = (struct overview_lists){ .runs = NULL };
}

static bool read_all(struct db *db, struct overview *overview, struct overview_lists *lists,
                     struct error *err)
{
    return begin(db, err) && count(db, overview, err) && list_runs(db, &lists->runs, err) &&
           export_view_list(db, &lists->exports, err) &&
           status_report_read(db, OVERVIEW_RUNS, &lists->report, err) &&
           freshness_read(db, &lists->freshness, err);
}

bool overview_read(struct db *db, struct overview *overview, struct overview_lists *lists,
                   struct error *err)
{
    struct overview counted;
    struct overview_lists listed = { .runs = NULL };

    if (!read_all(db, &counted, &listed, err)) {
        db_rollback(db);
        overview_lists_release(&listed);
        return error_wrap(err, "looking at the runs");
    }
    if (!db_commit(db, err)) {
        overview_lists_release(&listed);
        return error_wrap(err, "looking at the runs");
    }
    *overview = counted;
    *lists = listed;
    return true;
}

bool overview_runs(struct db *db, const struct history_filter *filter, char **runs,
                   struct error *err)
{
    char *read = NULL;

    if (begin(db, err) && history_list(db, filter, &read, err) && db_commit(db, err)) {
        *runs = read;
        return true;
    }
    db_rollback(db);
    free(read);
    return false;
}
