/*
 * The task `connection verify`: opens the stored key and asks Klaviyo what it is
 * allows. Answer: account (an object; null: not known, or not for the asking user), account_problem
 * (why it is not known), lists ([{"export", "list", "name", "live_flows"}], a null name: Klaviyo
 * has none of that id; live_flows: that begin with being added to the list, where it is known),
 * flows_problem (why they are not known of all lists, though the key may read flows as far as is
 * known; null: none), scopes (that worked).
 */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "worker/store/export_lists.h"
#include "worker/task/stored_key.h"
#include "worker/task/task_arguments.h"
#include "worker/task/task_kind.h"

enum { SCOPES_MAX_BYTES = 256 };

/* What was found out so far. */
struct verification {
    const struct task_context *context;
    struct klaviyo_query *query;
    const char *name;
    struct sealed_key key;
    struct account account; /* empty id: the key may not read it */
    char scopes[SCOPES_MAX_BYTES];
    json_t *answer;
};

static void note_scope(struct verification *v, const char *scope)
{
    size_t n = strlen(v->scopes);

    if (!strstr(v->scopes, scope))
        (void)snprintf(v->scopes + n, sizeof v->scopes - n, "%s%s", n > 0 ? " " : "", scope);
}

/* Klaviyo refuses it: marked at once, so that workers need not find out. */
static bool refused(struct verification *v, struct error *err)
{
    struct error why = *err;

    if (!connections_refused(v->context->db, v->name, &v->key, why.text, err))
        return false;
    *err = why;
    return error_wrap(err, "connection %s needs attention now", v->name);
}

static bool verify_account(struct verification *v, struct error *err)
{
    switch (klaviyo_query_account(v->query, &v->account, err)) {
    case KLAVIYO_QUERY_ANSWERED:
        note_scope(v, "accounts:read");
        return connections_fits(v->context->db, v->name, &v->key, v->account.id, err);
    case KLAVIYO_QUERY_SCOPE_MISSING:
        (void)json_object_set_new(v->answer, "account_problem", json_string(err->text));
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

static bool note_list(struct verification *v, const struct export_list *item, const char *name,
                      struct error *err)
{
    note_scope(v, "lists:read");
    (void)json_array_append_new(json_object_get(v->answer, "lists"),
                                json_pack("{s:s, s:s, s:s?}", "export", item->export_name, "list",
                                          item->list_id, "name", name));
    return export_lists_store(v->context->db, item, name, err);
}

static bool verify_list(struct verification *v, const struct export_list *item, struct error *err)
{
    struct klaviyo_list list;

    switch (klaviyo_query_list(v->query, item->list_id, &list, err)) {
    case KLAVIYO_QUERY_ANSWERED:
        return note_list(v, item, list.name, err);
    case KLAVIYO_QUERY_GONE:
        return note_list(v, item, NULL, err);
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
    CLEANUP(export_lists_release) struct export_lists lists = { .n = 0 };

    if (!export_lists_of(v->context->db, v->name, &lists, err))
        return false;
    for (size_t i = 0; i < lists.n; i++)
        if (!task_progress(v->context, "asking Klaviyo for lists", (int64_t)i, (int64_t)lists.n,
                           err) ||
            !verify_list(v, &lists.items[i], err))
            return false;
    return true;
}

/* Optional, for `export preview`: a failure says nothing about the key. */
static void try_usage(struct verification *v)
{
    struct error ignored = ERROR_INIT;
    struct usage usage;

    if (klaviyo_query_usage(v->query, &usage, &ignored) == KLAVIYO_QUERY_ANSWERED)
        note_scope(v, "usage:read");
}

/* Of one list. False: nor of the others, as the key may not read it, or there is no answer. */
static bool try_flows_of(struct verification *v, json_t *list)
{
    struct error why = ERROR_INIT;
    int64_t live;

    if (json_is_null(json_object_get(list, "name")))
        return true;
    switch (klaviyo_query_flows(v->query, json_string_value(json_object_get(list, "list")), true,
                                &live, &why)) {
    case KLAVIYO_QUERY_ANSWERED:
        note_scope(v, "flows:read");
        (void)json_object_set_new(list, "live_flows", json_integer(live));
        return true;
    case KLAVIYO_QUERY_GONE:
        return true;
    case KLAVIYO_QUERY_FAILED:
        (void)json_object_set_new(v->answer, "flows_problem", json_string(why.text));
        return false;
    case KLAVIYO_QUERY_KEY_REFUSED:
    case KLAVIYO_QUERY_SCOPE_MISSING:
        break;
    }
    return false;
}

/*
 * Optional, too: worth knowing before people are added. Each may have to wait for a permit. A
 * stop shows by the task.
 */
static void try_flows(struct verification *v)
{
    struct error stopped = ERROR_INIT;
    json_t *lists = json_object_get(v->answer, "lists");
    size_t i;
    json_t *list;

    json_array_foreach(lists, i, list)
        if (!task_progress(v->context, "asking Klaviyo for flows", (int64_t)i,
                           (int64_t)json_array_size(lists), &stopped) ||
            !try_flows_of(v, list))
            return;
}

static bool store_findings(struct verification *v, struct error *err)
{
    bool known = *v->account.id;
    struct connection_findings findings = { .account_id = known ? v->account.id : NULL,
                                            .account_name = known ? v->account.name : NULL,
                                            .scopes = *v->scopes ? v->scopes : NULL };

    return connections_verified(v->context->db, v->name, &v->key, &findings, err);
}

/* The account of a connection is for administrators to know. */
static void answer_account(struct verification *v, const json_t *arguments)
{
    if (*v->account.id && json_is_true(json_object_get(arguments, "whole")))
        (void)json_object_set_new(
            v->answer, "account",
            json_pack("{s:s, s:s}", "id", v->account.id, "name", v->account.name));
}

static bool verify(struct verification *v, const json_t *arguments, struct error *err)
{
    v->query = stored_key_query(v->context, v->name, &v->key, err);
    if (!v->query || !verify_account(v, err) || !verify_lists(v, err))
        return false;
    try_usage(v);
    try_flows(v);
    if (task_is_stopped(v->context)) /* what was not asked any more would be missing */
        return error_set(err, ERROR_LOST, "the task was stopped");
    answer_account(v, arguments);
    (void)json_object_set_new(v->answer, "scopes", json_string(v->scopes));
    return store_findings(v, err);
}

bool connection_verify_task(const struct task_context *context, const json_t *arguments,
                            json_t **answer, struct error *err)
{
    CLEANUP(json_freep)
    json_t *found =
        json_pack("{s:n, s:n, s:n, s:[]}", "account", "account_problem", "flows_problem", "lists");
    struct verification v = {
        .context = context, .name = task_name(arguments), .key = SEALED_KEY_INIT, .answer = found
    };
    bool ok = found ? verify(&v, arguments, err) : error_no_memory(err);

    klaviyo_query_free(v.query);
    sealed_key_release(&v.key);
    if (ok)
        *answer = json_take(&found);
    return ok;
}
