#include "worker/store/solved_letters.h"

#include "worker/store/document.h"
#include "worker/store/letter_rule.h"
#include "worker/store/statement.h"

static const char solved_sql[] =
    "select coalesce(json_agg(solved order by nth), '[]') from (" LETTERS_SOLVED(
        "select nth, (l ->> 'run')::bigint as run, (l ->> 'full')::boolean as full_refresh,"
        " array(select jsonb_array_elements_text(l -> 'exports')) as exports"
        " from jsonb_array_elements($1::jsonb) with ordinality as a(l, nth)") ") as told";

bool solved_letters(struct db *db, const char *letters, char **json, struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, letters);
    if (!db_query_document(db, solved_sql, &args, json, err))
        return error_wrap(err, "looking for what became of dead letters");
    return true;
}
