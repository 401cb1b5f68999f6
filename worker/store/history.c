#include "worker/store/history.h"

#include <inttypes.h>

#include "worker/store/document.h"
#include "worker/store/statement.h"

static const char list_sql[] =
    "select coalesce(json_agg(klaviyo.run_json(picked.r) order by (picked.r).run_id desc), '[]')"
    " from (select r from klaviyo.run r"
    " where ($1::text is null or r.export_name = $1)"
    " and ($2::text is null or klaviyo.shown_state(r) = $2)"
    " and ($4::bigint = 0 or r.queued_at > now() - $4::bigint * interval '1 second')"
    " order by r.run_id desc limit $3::bigint) as picked";

static const char show_sql[] = "select klaviyo.run_json(r) from klaviyo.run r where r.run_id = $1";

static const char exists_sql[] = "select exists (select from klaviyo.run where run_id = $1)";

static const char rejections_sql[] =
    "select coalesce(json_agg(shown), '[]') from (select j.email, j.profile_id, j.stage, j.code,"
    " j.detail from klaviyo.rejection j where j.run_id = $1"
    " order by j.stage desc, j.code, j.email, j.profile_id) as shown";

static const char outlooks_sql[] =
    "select coalesce(json_object_agg(u.id, o.outlook), '{}') from unnest($1::bigint[]) as u(id)"
    " left join klaviyo.outlooks($1::bigint[]) as o on o.run_id = u.id";

static const char newest_sql[] =
    "select run_id from klaviyo.run"
    " order by state in ('queued', 'running') desc, run_id desc limit 1";

/* Of the last five: one may have waited for a limit. In thousandths, as a whole number. */
static const char pace_sql[] =
    "select coalesce((1000 * sum(accepted_rows + rejected_rows)"
    " / nullif(extract(epoch from sum(finished_at - started_at)), 0))::bigint, 0)"
    " from (select r.* from klaviyo.run r where r.export_name = $1"
    " and r.state in ('succeeded', 'succeeded_with_rejections') and r.selected_rows > 0"
    " and not r.is_trial"
    " order by r.run_id desc limit 5) as last";

static const char ran_within_sql[] =
    "select exists (select from klaviyo.run where export_name = $1 and (state = 'running'"
    " or finished_at > clock_timestamp() - $2::bigint * interval '1 ms'))";

static const char cancel_sql[] = "select klaviyo.cancel_run($1)";

static const char follow_sql[] = "select klaviyo.follow_event($1, $2)";

static bool no_such(int64_t run_id, struct error *err)
{
    return error_set(err, ERROR_INPUT,
                     "there is no run %" PRId64 " that you may see: runs list shows them", run_id);
}

bool history_list(struct db *db, const struct history_filter *filter, char **json,
                  struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, filter->export_name);
    args_text(&args, filter->state);
    args_int64(&args, filter->limit);
    args_int64(&args, filter->since_s);
    if (!db_query_document(db, list_sql, &args, json, err))
        return error_wrap(err, "listing the runs");
    return true;
}

bool history_show(struct db *db, int64_t run_id, char **json, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_int64(&args, run_id);
    if (!db_query_document(db, show_sql, &args, &found, err))
        return error_wrap(err, "run %" PRId64, run_id);
    if (!found)
        return no_such(run_id, err);
    *json = found;
    return true;
}

/* False: there is no such run, or it is not to be seen. */
static bool must_exist(struct db *db, int64_t run_id, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, run_id);
    if (!db_query(db, exists_sql, &args, &rows, err))
        return error_wrap(err, "run %" PRId64, run_id);
    return result_bool(rows, 0, 0) || no_such(run_id, err);
}

bool history_rejections(struct db *db, int64_t run_id, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, run_id);
    if (!must_exist(db, run_id, err))
        return false;
    if (!db_query_document(db, rejections_sql, &args, json, err))
        return error_wrap(err, "rejections of run %" PRId64, run_id);
    return true;
}

bool history_outlooks(struct db *db, const int64_t *run_ids, size_t n, char **json,
                      struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf ids = { 0 };
    struct args args = ARGS_INIT;

    array_init(&ids);
    for (size_t i = 0; i < n; i++)
        array_int64(&ids, run_ids[i]);
    if (!args_close_array(&args, &ids, err) ||
        !db_query_document(db, outlooks_sql, &args, json, err))
        return error_wrap(err, "looking for when the runs end");
    return true;
}

bool history_pace(struct db *db, const char *export_name, double *rows_per_second,
                  struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, export_name);
    if (!db_query(db, pace_sql, &args, &rows, err))
        return error_wrap(err, "looking for earlier runs");
    *rows_per_second = (double)result_int64(rows, 0, 0) / 1000;
    return true;
}

bool history_ran_within(struct db *db, const char *export_name, int64_t ms, bool *ran,
                        struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, export_name);
    args_int64(&args, ms);
    if (!db_query(db, ran_within_sql, &args, &rows, err))
        return error_wrap(err, "looking for runs");
    *ran = result_bool(rows, 0, 0);
    return true;
}

bool history_newest(struct db *db, int64_t *run_id, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, newest_sql, NULL, &rows, err))
        return error_wrap(err, "looking for a run");
    *run_id = result_rows(rows) > 0 ? result_int64(rows, 0, 0) : 0;
    return true;
}

bool history_cancel(struct db *db, int64_t run_id, enum history_cancel *how, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, run_id);
    if (!must_exist(db, run_id, err))
        return false;
    if (!db_query(db, cancel_sql, &args, &rows, err))
        return error_wrap(err, "run %" PRId64, run_id);
    const char *response = result_text(rows, 0, 0);
    *how = strcmp(response, "ended") == 0   ? HISTORY_CANCELLED
           : strcmp(response, "asked") == 0 ? HISTORY_ASKED
                                            : HISTORY_ENDED_BEFORE;
    return true;
}

bool history_follow(struct db *db, const char *source, const char *event_id, char **json,
                    struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, source);
    args_text(&args, event_id);
    if (!db_query_document(db, follow_sql, &args, json, err))
        return error_wrap(err, "following event %s", event_id);
    return true;
}
