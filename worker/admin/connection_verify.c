/* `connection verify`: opens the stored key and asks Klaviyo what it is good for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"
#include "worker/admin/connection.h"
#include "worker/admin/klaviyo_query.h"
#include "worker/admin/stored_key.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/klaviyo/client.h"
#include "worker/store/connections.h"
#include "worker/store/export_lists.h"

enum { SCOPES_MAX_BYTES = 256 };

/* What was found out so far. */
struct verification {
    struct context *context;
    struct klaviyo_query *query;
    const char *name;
    const struct sealed_key *key;
    struct account account; /* empty id: the key may not read it */
    struct strbuf scopes;
    int lists_gone;
};

static void note_scope(struct verification *v, const char *scope)
{
    if (v->scopes.data && strstr(v->scopes.data, scope))
        return;
    strbuf_addf(&v->scopes, "%s%s", v->scopes.len > 0 ? " " : "", scope);
}

/* Klaviyo says no: the workers need not find out by themselves. */
static bool refused(struct verification *v, struct error *err)
{
    struct error why = *err;

    if (!connections_refused(v->context->db, v->name, v->key, why.text, err))
        return false;
    *err = why;
    return error_wrap(err, "connection %s needs attention now", v->name);
}

static bool verify_account(struct verification *v, struct error *err)
{
    switch (klaviyo_query_account(v->query, &v->account, err)) {
    case KLAVIYO_QUERY_ANSWERED:
        note_scope(v, "accounts:read");
        print_line("Connection %s: Klaviyo account %s (%s).", v->name, v->account.id,
                   v->account.name);
        return true;
    case KLAVIYO_QUERY_SCOPE_MISSING:
        warn_user("connection %s: %s", v->name, err->text);
        *err = ERROR_INIT;
        return true;
    case KLAVIYO_QUERY_KEY_REFUSED:
        return refused(v, err);
    case KLAVIYO_QUERY_GONE:
    case KLAVIYO_QUERY_FAILED:
        break;
    }
    return error_wrap(err, "connection %s", v->name);
}

static bool verify_list(struct verification *v, const struct export_list *item, struct error *err)
{
    struct klaviyo_list list;

    switch (klaviyo_query_list(v->query, item->list_id, &list, err)) {
    case KLAVIYO_QUERY_ANSWERED:
        note_scope(v, "lists:read");
        print_line("  export %s: list %s (%s)", item->export_name, item->list_id, list.name);
        return export_lists_store(v->context->db, item->export_id, list.name, err);
    case KLAVIYO_QUERY_GONE:
        note_scope(v, "lists:read");
        print_line("  export %s: Klaviyo has no list %s", item->export_name, item->list_id);
        v->lists_gone++;
        return export_lists_store(v->context->db, item->export_id, NULL, err);
    case KLAVIYO_QUERY_KEY_REFUSED:
        return refused(v, err);
    case KLAVIYO_QUERY_SCOPE_MISSING:
    case KLAVIYO_QUERY_FAILED:
        break;
    }
    return error_wrap(err, "export %s, list %s", item->export_name, item->list_id);
}

static bool verify_lists(struct verification *v, struct error *err)
{
    struct export_list *lists;
    size_t n;
    bool ok = true;

    if (!export_lists_of(v->context->db, v->name, &lists, &n, err))
        return false;
    for (size_t i = 0; ok && i < n; i++)
        ok = verify_list(v, &lists[i], err);
    export_lists_free(lists, n);
    return ok;
}

/* Optional, for `export preview`: whatever comes of it says nothing about the key. */
static void try_usage(struct verification *v)
{
    struct error ignored = ERROR_INIT;
    struct usage usage;

    if (klaviyo_query_usage(v->query, &usage, &ignored) == KLAVIYO_QUERY_ANSWERED)
        note_scope(v, "usage:read");
}

/* What a run needs besides is shown by a run alone: nothing is written to try a key. */
static void print_scopes(const struct verification *v)
{
    static const char *const needed[] = { "lists:read", "lists:write", "profiles:read",
                                          "profiles:write" };
    const char *seen = v->scopes.data ? v->scopes.data : "";

    print_line("Scopes tried, and working: %s.", *seen ? seen : "none");
    print_text("Not tried, as only a run uses them:");
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!strstr(seen, needed[i])) {
            print_text(" ");
            print_text(needed[i]);
        }
    print_text(".\n");
    if (!strstr(seen, "usage:read"))
        print_line("Without usage:read, which is optional, export preview does not know what the "
                   "plan allows.");
}

static bool store_findings(struct verification *v, struct error *err)
{
    bool known = *v->account.id;
    struct connection_findings findings = { .account_id = known ? v->account.id : NULL,
                                            .account_name = known ? v->account.name : NULL,
                                            .scopes = v->scopes.data };

    if (!connections_verified(v->context->db, v->name, v->key, &findings, err))
        return false;
    print_scopes(v);
    if (v->lists_gone > 0)
        return error_set(err, ERROR_INPUT,
                         "Klaviyo does not have %d of the lists: correct them with export update",
                         v->lists_gone);
    return true;
}

static bool verify_with(struct verification *v, struct error *err)
{
    if (!verify_account(v, err) || !verify_lists(v, err))
        return false;
    try_usage(v);
    return store_findings(v, err);
}

static bool verify(struct context *context, const char *name, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(sealed_key_release) struct sealed_key sealed = SEALED_KEY_INIT;
    char *account;

    if (!stored_key_open(context, name, &key, &sealed, err) ||
        !connections_account(context->db, name, &account, err))
        return false;
    struct verification v = { .context = context,
                              .query = klaviyo_query_new(context->settings, context->db, &key,
                                                         account, err),
                              .name = name,
                              .key = &sealed,
                              .scopes = STRBUF_INIT(SCOPES_MAX_BYTES) };
    free(account);
    bool ok = v.query && verify_with(&v, err);
    klaviyo_query_free(v.query);
    strbuf_release(&v.scopes);
    return ok;
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
