#include "worker/store/export_lists.h"

#include <stdlib.h>

#include "worker/store/statement.h"

static const char lists_sql[] =
    "select x.export_id, x.name, x.list_id, x.connection_id from klaviyo.export x"
    " join klaviyo.connection c using (connection_id) where c.name = $1 order by x.name";

static const char store_list_sql[] =
    "update klaviyo.export set list_name = $2, list_checked_at = clock_timestamp()"
    " where export_id = $1 and list_id = $3 and connection_id = $4";

void export_lists_free(struct export_list *lists, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(lists[i].export_name);
        free(lists[i].list_id);
    }
    free(lists);
}

static bool fill_lists(struct export_list *lists, const PGresult *rows, struct error *err)
{
    for (int i = 0; i < result_rows(rows); i++) {
        lists[i].export_id = result_int64(rows, i, 0);
        lists[i].connection_id = result_int64(rows, i, 3);
        lists[i].export_name = strdup(result_text(rows, i, 1));
        lists[i].list_id = strdup(result_text(rows, i, 2));
        if (!lists[i].export_name || !lists[i].list_id)
            return error_no_memory(err);
    }
    return true;
}

bool export_lists_of(struct db *db, const char *name, struct export_list **lists, size_t *n,
                     struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, lists_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    size_t count = (size_t)result_rows(rows);
    struct export_list *found = calloc(count + 1, sizeof *found);
    if (!found)
        return error_no_memory(err);
    if (!fill_lists(found, rows, err)) {
        export_lists_free(found, count);
        return false;
    }
    *lists = found;
    *n = count;
    return true;
}

bool export_lists_store(struct db *db, const struct export_list *list, const char *name,
                        struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, list->export_id);
    args_text(&args, name);
    args_text(&args, list->list_id);
    args_int64(&args, list->connection_id);
    return db_query(db, store_list_sql, &args, NULL, err);
}
