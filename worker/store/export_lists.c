#include "worker/store/export_lists.h"

#include <stdlib.h>

#include "worker/store/statement.h"

static const char lists_sql[] =
    "select x.export_id, x.name, x.list_id, x.connection_id from klaviyo.export x"
    " join klaviyo.connection c using (connection_id) where c.name = $1 order by x.name";

static const char store_list_sql[] =
    "update klaviyo.export set list_name = $2, list_checked_at = clock_timestamp()"
    " where export_id = $1 and list_id = $3 and connection_id = $4";

void export_lists_release(struct export_lists *lists)
{
    for (size_t i = 0; i < lists->n; i++) {
        free(lists->items[i].export_name);
        free(lists->items[i].list_id);
    }
    free(lists->items);
    *lists = (struct export_lists){ .n = 0 };
}

/* What a failed read leaves is the caller's to release: n counts the item that was being read. */
static bool read_lists(const PGresult *rows, struct export_lists *lists, struct error *err)
{
    int n = result_rows(rows);

    lists->items = calloc((size_t)n + 1, sizeof *lists->items);
    if (!lists->items)
        return error_no_memory(err);
    for (int i = 0; i < n; i++) {
        struct export_list *list = &lists->items[lists->n++];

        list->export_id = result_int64(rows, i, 0);
        list->connection_id = result_int64(rows, i, 3);
        if (!result_copy_text(rows, i, 1, &list->export_name, err) ||
            !result_copy_text(rows, i, 2, &list->list_id, err))
            return false;
    }
    return true;
}

bool export_lists_of(struct db *db, const char *name, struct export_lists *lists, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(export_lists_release) struct export_lists read = { .n = 0 };
    struct args args = ARGS_INIT;

    args_text(&args, name);
    if (!db_query(db, lists_sql, &args, &rows, err))
        return error_wrap(err, "connection %s", name);
    if (!read_lists(rows, &read, err))
        return false;
    *lists = read;
    read = (struct export_lists){ .n = 0 };
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
