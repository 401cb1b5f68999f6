/* `connection verify`: opens the stored key and asks Klaviyo what it is good for. */
#include <stdio.h>

#include "worker/admin/arguments.h"
#include "worker/admin/ask.h"
#include "worker/admin/connection.h"
#include "worker/admin/stored_key.h"
#include "worker/klaviyo/client.h"
#include "worker/store/connections.h"
#include "worker/store/export_lists.h"

/* Klaviyo says no: the workers need not find out by themselves. */
static bool refused(struct context *context, const char *name, struct error *err)
{
    struct error why = *err;

    if (!connections_refused(context->db, name, err->text, err))
        return false;
    *err = why;
    return error_wrap(err, "connection %s needs attention now", name);
}

/* *gone counts the lists that Klaviyo does not have. */
static bool verify_list(struct context *context, struct asker *asker,
                        const struct export_list *item, int *gone, struct error *err)
{
    struct list list;

    switch (ask_list(asker, item->list_id, &list, err)) {
    case ASK_ANSWERED:
        (void)printf("  export %s: list %s (%s)\n", item->export_name, item->list_id, list.name);
        return export_lists_store(context->db, item->export_id, list.name, err);
    case ASK_GONE:
        (void)printf("  export %s: Klaviyo has no list %s\n", item->export_name, item->list_id);
        ++*gone;
        return export_lists_store(context->db, item->export_id, NULL, err);
    case ASK_REFUSED:
    case ASK_FAILED:
        break;
    }
    return error_wrap(err, "export %s, list %s", item->export_name, item->list_id);
}

static bool verify_lists(struct context *context, struct asker *asker, const char *name,
                         struct error *err)
{
    struct export_list *lists;
    size_t n;
    int gone = 0;
    bool ok = true;

    if (!export_lists_of(context->db, name, &lists, &n, err))
        return false;
    for (size_t i = 0; ok && i < n; i++)
        ok = verify_list(context, asker, &lists[i], &gone, err);
    export_lists_free(lists, n);
    if (ok && gone > 0)
        return error_set(err, ERROR_INPUT,
                         "Klaviyo does not have %d of the lists: correct them with export update",
                         gone);
    return ok;
}

static bool verify_account(struct context *context, struct asker *asker, const char *name,
                           struct error *err)
{
    struct account account;

    switch (ask_account(asker, &account, err)) {
    case ASK_ANSWERED:
        break;
    case ASK_REFUSED:
        return refused(context, name, err);
    case ASK_GONE:
    case ASK_FAILED:
        return error_wrap(err, "connection %s", name);
    }
    if (!connections_verified(context->db, name, account.id, account.name, err))
        return false;
    (void)printf("Connection %s: Klaviyo account %s (%s).\n", name, account.id, account.name);
    return true;
}

static bool verify(struct context *context, const char *name, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    if (!stored_key_open(context, name, &key, err))
        return false;
    CLEANUP(asker_freep)
    struct asker *asker = asker_new(context->settings, context->db, &key, NULL, err);
    return asker && verify_account(context, asker, name, err) &&
           verify_lists(context, asker, name, err);
}

bool connection_verify(struct context *context, const struct arguments *arguments,
                       struct error *err)
{
    if (!client_library_init(err))
        return false;
    bool ok = verify(context, arguments->operands[0], err);
    client_library_release();
    return ok;
}
