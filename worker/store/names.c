#include "worker/store/names.h"

#include "worker/store/document.h"
#include "worker/store/statement.h"

static const char *const list_sql[] = {
    [NAMES_CONNECTIONS] = "select coalesce(json_agg(name order by name), '[]')"
                          " from (select name from klaviyo.connection order by 1 limit $1) n",
    [NAMES_EXPORTS] = "select coalesce(json_agg(name order by name), '[]')"
                      " from (select name from klaviyo.export order by 1 limit $1) n",
    [NAMES_SEGMENTS] = "select coalesce(json_agg(name order by name), '[]') from (select distinct"
                       " segment_id as name from klaviyo.export_segment order by 1 limit $1) n",
    [NAMES_RUNS] = "select coalesce(json_agg(name), '[]') from (select run_id::text as name"
                   " from klaviyo.run order by run_id desc limit least($1, 50)) n",
};

bool names_list(struct db *db, enum names_kind kind, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, NAMES_MAX);
    if (!db_query_document(db, list_sql[kind], &args, json, err))
        return error_wrap(err, "listing names");
    return true;
}
