#include "worker/store/publish_targets.h"

#include "common/nearest.h"
#include "worker/store/document.h"
#include "worker/store/exports.h"
#include "worker/store/statement.h"

static const char of_segment_sql[] =
    "select json_agg(distinct jsonb_build_object('segment', s.segment_id, 'export',"
    " case when not klaviyo.is_admin(current_user) then x.name end))"
    " from klaviyo.export_segment s join klaviyo.export x using (export_id)"
    " where s.segment_id = $1 and not x.paused";

static const char segments_sql[] =
    "select distinct s.segment_id from klaviyo.export_segment s"
    " join klaviyo.export x using (export_id) where not x.paused order by 1";

static const char of_export_sql[] =
    "select json_build_array(json_build_object('segment', min(s.segment_id), 'export', x.name))"
    " from klaviyo.export x join klaviyo.export_segment s using (export_id)"
    " where x.name = $1 group by x.export_id, x.name";

static const char takes_sql[] =
    "select x.paused, $2::text is null or exists (select from klaviyo.export_segment s"
    " where s.export_id = x.export_id and s.segment_id = $2)"
    " from klaviyo.export x where x.name = $1";

static bool no_export_has(struct db *db, const char *segment, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct nearest nearest = NEAREST_INIT(segment);
    struct error ignored = ERROR_INIT;

    if (db_query(db, segments_sql, NULL, &rows, &ignored))
        for (int i = 0; i < result_rows(rows); i++)
            nearest_offer(&nearest, result_text(rows, i, 0));
    if (nearest.best)
        return error_set(err, ERROR_INPUT,
                         "no active export that you may use has the segment %s: did you mean %s?",
                         segment, nearest.best);
    return error_set(err, ERROR_INPUT,
                     "no active export that you may use has the segment %s: the event would "
                     "come to nothing (export list shows exports and their segments)",
                     segment);
}

bool publish_targets_of_segment(struct db *db, const char *segment, char **json, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, segment);
    if (!db_query_document(db, of_segment_sql, &args, &found, err))
        return error_wrap(err, "segment %s", segment);
    if (!found)
        return no_export_has(db, segment, err);
    *json = found;
    return true;
}

bool publish_targets_check(struct db *db, const char *export, const char *segment,
                           struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, export);
    args_text(&args, segment);
    if (!db_query(db, takes_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return exports_missing(db, export, err);
    if (result_bool(rows, 0, 0))
        return error_set(err, ERROR_INPUT,
                         "export %s is paused, its events are ignored: run export resume %s first",
                         export, export);
    return result_bool(rows, 0, 1) ||
           error_set(err, ERROR_INPUT,
                     "export %s has no segment %s any more: its events for it are ignored", export,
                     segment);
}

bool publish_targets_of_export(struct db *db, const char *name, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    if (!publish_targets_check(db, name, NULL, err))
        return false;
    args_text(&args, name);
    if (!db_query_document(db, of_export_sql, &args, json, err))
        return error_wrap(err, "export %s", name);
    return *json || exports_missing(db, name, err); /* it went just now */
}
