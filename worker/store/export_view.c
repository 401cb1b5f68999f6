#include "worker/store/export_view.h"

#include <stdlib.h>

#include "worker/store/document.h"
#include "worker/store/exports.h"
#include "worker/store/statement.h"

#define STALE                                                                                \
    "klaviyo.is_stale(klaviyo.expected_every_s(x.expect_every_s, x.paused, x.pause_reason)," \
    " coalesce(s.at, x.changed_at))"

#define EXPORT_MEMBERS                                                                          \
    "x.name, c.name as connection, x.list_id as list, x.list_name,"                             \
    " array(select g.segment_id from klaviyo.export_segment g"                                  \
    " where g.export_id = x.export_id order by 1) as segments,"                                 \
    " klaviyo.path_text(x.email_path) as email_field, x.max_profiles, x.on_leave,"              \
    " x.max_invalid, x.size_guard, x.plan, x.flows_known,"                                      \
    " case when x.paused then 'paused' when " STALE " then 'stale' else 'active' end as state," \
    " x.pause_reason, klaviyo.utc(s.at) as last_success, s.members,"                            \
    " klaviyo.duration_text(x.expect_every_s) as expect_every,"                                 \
    " x.expect_every_s as expect_every_seconds, " STALE " as stale,"                            \
    " c.state as connection_state"

/* What costs something is asked once for a connection, not for each of its exports. */
#define CONNECTIONS                                                     \
    "with connections as materialized (select c.connection_id, c.name," \
    " klaviyo.connection_state(c.connection_id) as state from klaviyo.connection c) "

#define EXPORTS                                                            \
    " from klaviyo.export x left join connections c using (connection_id)" \
    " left join klaviyo.export_success s using (export_id)"

static const char list_sql[] =
    CONNECTIONS "select coalesce(json_agg(shown), '[]') from (select " EXPORT_MEMBERS EXPORTS
                " order by x.name) as shown";

static const char show_sql[] =
    CONNECTIONS "select to_json(shown) from (select " EXPORT_MEMBERS ","
                " (select json_object_agg(f.name, klaviyo.path_text(f.path) order by f.position)"
                " from klaviyo.export_field f"
                " where f.export_id = x.export_id and f.target = 'attribute') as attributes,"
                " (select json_object_agg(f.name, klaviyo.path_text(f.path) order by f.position)"
                " from klaviyo.export_field f"
                " where f.export_id = x.export_id and f.target = 'property') as properties,"
                " klaviyo.utc(x.list_checked_at) as list_checked_at,"
                " x.created_by as made_by, klaviyo.utc(x.created_at) as made_at,"
                " klaviyo.utc(x.changed_at) as changed_at" EXPORTS " where x.name = $1) as shown";

bool export_view_list(struct db *db, char **json, struct error *err)
{
    if (!db_query_document(db, list_sql, NULL, json, err))
        return error_wrap(err, "listing the exports");
    return true;
}

bool export_view_show(struct db *db, const char *name, char **json, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, name);
    if (!db_query_document(db, show_sql, &args, &found, err))
        return error_wrap(err, "export %s", name);
    if (!found)
        return exports_missing(db, name, err);
    *json = found;
    return true;
}
