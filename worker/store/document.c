#include "worker/store/document.h"

#include <stdlib.h>

bool db_query_document(struct db *db, const char *sql, const struct args *args, char **json,
                       struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    char *copy = NULL;

    if (!db_query(db, sql, args, &rows, err))
        return false;
    if (result_rows(rows) > 0 && !result_is_null(rows, 0, 0)) {
        copy = strdup(result_text(rows, 0, 0));
        if (!copy)
            return error_no_memory(err);
    }
    *json = copy;
    return true;
}
