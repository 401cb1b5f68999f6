#include "worker/store/solved_letters.h"

#include "worker/store/document.h"
#include "worker/store/statement.h"

/*
 * A letter names the failed run of its first export alone; of the others the
 * newest failed one is as new as that of the letter, or newer.
 */
static const char solved_sql[] =
    "with newest as (select r.export_name as name,"
    " max(r.run_id) filter (where r.state in ('succeeded', 'succeeded_with_rejections')) as good,"
    " max(r.run_id) filter (where r.state in ('succeeded', 'succeeded_with_rejections')"
    " and r.full_refresh) as good_full,"
    " max(r.run_id) filter (where r.state = 'failed') as failed"
    " from klaviyo.run r where not r.is_trial group by r.export_name),"
    " letter as (select nth, (l ->> 'run')::bigint as run, (l ->> 'full')::boolean as full_refresh,"
    " l -> 'exports' as exports"
    " from jsonb_array_elements($1::jsonb) with ordinality as a(l, nth)),"
    " judged as (select nth, run, jsonb_array_length(exports) > 0 and not exists ("
    " select from jsonb_array_elements_text(exports) with ordinality as e(name, n)"
    " left join newest on newest.name = e.name"
    " where coalesce(case when full_refresh then good_full else good end, 0)"
    " <= case when n = 1 then run else coalesce(failed, 0) end) as solved"
    " from letter)"
    " select coalesce(json_agg(case when solved then true"
    " when exists (select from klaviyo.run r where r.run_id = judged.run) then false end"
    " order by nth), '[]') from judged";

bool solved_letters(struct db *db, const char *letters, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, letters);
    if (!db_query_document(db, solved_sql, &args, json, err))
        return error_wrap(err, "looking for what became of dead letters");
    return true;
}
