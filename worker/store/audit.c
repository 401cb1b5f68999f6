#include "worker/store/audit.h"

#include "worker/store/document.h"

static const char list_sql[] =
    "select coalesce(json_agg(shown), '[]') from (select a.audit_id as id,"
    " klaviyo.utc(a.at) as at, a.by_user as by, a.action, a.object, a.name, a.detail"
    " from klaviyo.audit a where ($1::text is null or a.object = $1)"
    " and ($2::text is null or a.name = $2) order by a.audit_id desc limit $3::bigint) as shown";

bool audit_list(struct db *db, const struct audit_filter *filter, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, filter->object);
    args_text(&args, filter->name);
    args_int64(&args, filter->limit);
    if (!db_query_document(db, list_sql, &args, json, err))
        return error_wrap(err, "listing the audit");
    return true;
}
