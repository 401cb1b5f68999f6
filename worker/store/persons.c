#include "worker/store/persons.h"

#include "worker/store/document.h"

bool persons_forget(struct db *db, const char *address, char **json, struct error *err)
{
    struct args args = ARGS_INIT;
    char *found = NULL;

    args_text(&args, address);
    if (!db_query_document(db, "select klaviyo.forget_member($1)", &args, &found, err))
        return error_wrap(err, "forgetting a member");
    if (!found)
        return error_set(err, ERROR_INPUT, "an address is needed, and this one is blank");
    *json = found;
    return true;
}
