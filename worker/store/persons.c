#include "worker/store/persons.h"

#include "worker/store/document.h"

/* A function of one address, null for a blank one. */
static bool ask(struct db *db, const char *sql, const char *address, char **json, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, address);
    if (!db_query_document(db, sql, &args, &found, err))
        return false;
    if (!found)
        return error_set(err, ERROR_INPUT, "an address is needed, and this one is blank");
    *json = found;
    return true;
}

bool persons_show(struct db *db, const char *address, char **json, struct error *err)
{
    return ask(db, "select klaviyo.show_member($1)", address, json, err) ||
           error_wrap(err, "looking for a member");
}

bool persons_forget(struct db *db, const char *address, char **json, struct error *err)
{
    return ask(db, "select klaviyo.forget_member($1)", address, json, err) ||
           error_wrap(err, "forgetting a member");
}
