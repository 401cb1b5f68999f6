#include "worker/store/missing_name.h"

#include "common/nearest.h"
#include "worker/store/statement.h"

bool missing_name(struct db *db, const struct missing_name *missing, const char *name,
                  struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct nearest nearest = NEAREST_INIT(name);
    struct error ignored = ERROR_INIT;

    if (db_query(db, missing->names_sql, NULL, &rows, &ignored))
        for (int i = 0; i < result_rows(rows); i++)
            nearest_offer(&nearest, result_text(rows, i, 0));
    if (nearest.best)
        return error_set(err, ERROR_INPUT, "there is no %s %s that you may use: did you mean %s?",
                         missing->what, name, nearest.best);
    return error_set(err, ERROR_INPUT, "there is no %s %s that you may use: %s", missing->what,
                     name, missing->advice);
}
