#include "worker/store/status_report.h"

#include "worker/store/document.h"
#include "worker/store/letter_rule.h"
#include "worker/store/shown_runs.h"
#include "worker/store/statement.h"

/* A key's requests are counted under the connection until its account is known. */
#define ACCOUNTS_SQL                                                                             \
    "select coalesce(json_agg(shown), '[]') from (select a.id, a.name, a.connections, a.share,"  \
    " (select count(*) from klaviyo.rate_place p where p.endpoint = 'import'"                    \
    " and p.account = a.id and p.steady_until > clock_timestamp()) as imports_in_minute,"        \
    " (select klaviyo.utc(max(b.blocked_until)) from klaviyo.rate_budget b"                      \
    " where b.account = a.id and b.blocked_until > clock_timestamp()) as blocked_until,"         \
    " (select json_build_object('used', p.used, 'maximum', p.maximum,"                           \
    " 'at', klaviyo.utc(p.told_at)) from klaviyo.account_plan p where p.account = a.id) as plan" \
    " from (select coalesce(c.account_id, 'connection:' || c.connection_id) as id,"              \
    " max(coalesce(c.account_name, c.name)) as name, count(*) as connections,"                   \
    " min(c.share) as share"                                                                     \
    " from klaviyo.connection c group by 1) as a order by imports_in_minute desc, a.name limit $1) as shown"

#define ATTENTION_SQL                                                     \
    "select coalesce(json_agg(shown), '[]') from (select c.name,"         \
    " c.attention_reason as reason, klaviyo.utc(c.attention_at) as since" \
    " from klaviyo.connection c where c.attention_reason is not null"     \
    " order by c.attention_at desc limit $2) as shown"

#define TO_JUDGE \
    "select request_id as nth, failed_run as run, failed_exports as exports, full_refresh from dead"

/* The newest by id: an index has the order. */
#define LETTERS_SQL                                                                 \
    "with dead as materialized (select q.* from klaviyo.request q"                  \
    " where q.state in ('dead_letter_due', 'dead_lettered')"                        \
    " order by q.request_id desc limit $3)"                                         \
    " select coalesce(json_agg(shown), '[]') from (select q.segment_id as segment," \
    " q.reason, q.failed_exports as exports, klaviyo.utc(q.ended_at) as at,"        \
    " coalesce(j.solved, false) as solved"                                          \
    " from dead q join (" LETTERS_SOLVED(TO_JUDGE) ") as j on j.nth = q.request_id" \
                                                   " order by q.request_id desc) as shown"

#define MINUTES_SQL                                                                   \
    "select json_agg(coalesce(ended.n, 0) order by m.minute)"                         \
    " from generate_series(0, 59) m(minute) left join (select"                        \
    " 59 - floor(extract(epoch from now() - r.finished_at) / 60)::integer as minute," \
    " sum(r.accepted_rows) as n from klaviyo.run r"                                   \
    " where r.finished_at > now() - interval '1 hour' group by 1) as ended"           \
    " on ended.minute = m.minute"

/* A trial does not count: its few rows say nothing about the state of the list. */
#define TRENDS_SQL                                                                           \
    "select coalesce(json_object_agg(x.name, t.runs), '{}') from klaviyo.export x"           \
    " cross join lateral (select json_agg(json_build_array(l.run_id, l.state,"               \
    " l.accepted_rows, round(extract(epoch from l.finished_at - l.started_at)::numeric, 1))" \
    " order by l.run_id) as runs from (select r.* from klaviyo.run r"                        \
    " where r.export_id = x.export_id and r.finished_at is not null and not r.is_trial"      \
    " order by r.run_id desc limit $4) as l) as t where t.runs is not null"

#define BATCHES_SQL                                                                 \
    "select coalesce(json_object_agg(run_id, states), '{}') from (select b.run_id," \
    " json_build_object('planned', count(*) filter (where b.state = 'planned'),"    \
    " 'sent', count(*) filter (where b.state = 'sent'),"                            \
    " 'complete', count(*) filter (where b.state = 'complete'),"                    \
    " 'unresolved', count(*) filter (where b.state = 'unresolved')) as states"      \
    " from klaviyo.batch b join klaviyo.run r on r.run_id = b.run_id"               \
    " where r.state = 'running' and r.run_id in (select run_id from shown)"         \
    " group by b.run_id) as going_on"

/* What was kept at the end of a run, and the state of one in progress. */
#define TIMELINES_SQL                                                                      \
    "select coalesce(json_object_agg(run_id, spans), '{}') from (select t.run_id, t.spans" \
    " from klaviyo.run_timeline t where t.run_id in (select run_id from shown)"            \
    " union all select r.run_id, klaviyo.timeline(r) from klaviyo.run r"                   \
    " where r.state = 'running' and r.run_id in (select run_id from shown))"               \
    " as known where spans is not null"

#define OUTLOOKS_SQL                                              \
    "select coalesce(json_object_agg(o.run_id, o.outlook), '{}')" \
    " from klaviyo.outlooks(array(select run_id from shown)) as o"

#define SHOWN_SQL "with shown as materialized (" SHOWN_RUNS("$5") ") "

static const char report_sql[] = SHOWN_SQL
    "select json_build_object('accounts', (" ACCOUNTS_SQL "), 'attention', (" ATTENTION_SQL
    "), 'dead_letters', (" LETTERS_SQL "), 'minutes', (" MINUTES_SQL "), 'trends', (" TRENDS_SQL
    "), 'batches', (" BATCHES_SQL "), 'timelines', (" TIMELINES_SQL "), 'outlooks', (" OUTLOOKS_SQL
    "))";

bool status_report_read(struct db *db, int64_t runs, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, STATUS_REPORT_ACCOUNTS);
    args_int64(&args, STATUS_REPORT_ATTENTION);
    args_int64(&args, STATUS_REPORT_LETTERS);
    args_int64(&args, STATUS_REPORT_TREND_RUNS);
    args_int64(&args, runs);
    if (!db_query_document(db, report_sql, &args, json, err))
        return error_wrap(err, "reading what the status page shows");
    return true;
}
