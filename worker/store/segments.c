#include "worker/store/segments.h"

#include <stdlib.h>

#include "worker/store/statement.h"

/* An object with `error` alone: the site's relations cannot be read. */
static const char list_sql[] =
    "select s ->> 'error', s -> 'segments' from klaviyo.list_segments() s";
static const char fields_sql[] = "select s ->> 'error', s from klaviyo.segment_fields($1) s";
static const char names_sql[] = "select s ->> 'error', s -> 'names' from klaviyo.segment_names() s";

static bool look(struct db *db, const char *sql, const struct args *args, char **json,
                 struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, sql, args, &rows, err))
        return error_wrap(err, "the segments cannot be read");
    if (!result_is_null(rows, 0, 0))
        return error_set(err, ERROR_INPUT, "the segments cannot be read: %s",
                         result_text(rows, 0, 0));
    return result_copy_text(rows, 0, 1, json, err);
}

bool segments_list(struct db *db, char **json, struct error *err)
{
    return look(db, list_sql, NULL, json, err);
}

bool segments_fields(struct db *db, const char *segment, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, segment);
    return look(db, fields_sql, &args, json, err);
}

bool segments_names(struct db *db, char **json, struct error *err)
{
    return look(db, names_sql, NULL, json, err);
}
