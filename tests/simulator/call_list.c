#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/memory.h"
#include "tests/simulator/page.h"
#include "tests/simulator/resource.h"
#include "tests/simulator/selection.h"

enum { CHANGE_MAX = 1000 };

/* The list that the path names; NULL: the answer is a 404. */
static struct list *find_list(struct call *call)
{
    struct list *list = lists_find(&call->world->lists, call->id);

    (void)snprintf(call->list, sizeof call->list, "%.60s", call->id);
    if (list && list->account == call->account)
        return list;
    answer_error(call->answer, 404, "not_found", "Not found.", "/data",
                 "A list with id `%s` does not exist.", call->id);
    return NULL;
}

static void answer_list(struct call *call, const struct list *list, int status, bool count)
{
    struct strbuf *out = answer_document(call->answer, status);

    strbuf_add_str(out, "{\"data\":");
    resource_list(call, out, list, count);
    strbuf_add_str(out, ",");
    page_add_self(out, call->request);
    strbuf_add_str(out, "}");
}

void call_list(struct call *call)
{
    static const char *const allowed[] = { "include", "fields[list]", "fields[tag]",
                                           "additional-fields[list]", NULL };
    const char *more = request_arg(call->request, "additional-fields[list]");

    if (!call_allows(call, allowed))
        return;
    const struct list *list = find_list(call);
    if (list)
        answer_list(call, list, 200, more && strstr(more, "profile_count"));
}

static bool list_fits(const struct call *call, const struct filter *filter, const struct list *list)
{
    if (list->deleted || list->account != call->account)
        return false;
    for (size_t i = 0; i < filter->n; i++) {
        const struct condition *condition = &filter->conditions[i];
        bool by_name = strcmp(condition->field, "name") == 0;

        if (!condition_names(condition, by_name ? list->name : list->id))
            return false;
    }
    return true;
}

static bool parse_list_filter(struct call *call, struct filter *filter)
{
    const char *text = request_arg(call->request, "filter");
    struct error err = ERROR_INIT;

    if (text && !filter_parse(filter, text, &err)) {
        answer_bad_parameter(call->answer, "filter", "%s", err.text);
        return false;
    }
    for (size_t i = 0; i < filter->n; i++) {
        const char *field = filter->conditions[i].field, *op = filter->conditions[i].op;
        bool by_value = strcmp(op, "equals") == 0 || strcmp(op, "any") == 0;

        if (by_value && (strcmp(field, "name") == 0 || strcmp(field, "id") == 0))
            continue;
        answer_bad_parameter(call->answer, "filter",
                             "'%s' is not an allowed filter operator for %s.", op, field);
        return false;
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct list *const *)a)->name, (*(struct list *const *)b)->name);
}

static int by_id(const void *a, const void *b)
{
    return strcmp((*(struct list *const *)a)->id, (*(struct list *const *)b)->id);
}

/* Lists lie in order of creation, and are never changed: `updated` is the same order. */
static bool sort_lists(struct call *call, struct list **lists, size_t n)
{
    const char *sort = request_arg(call->request, "sort");
    bool down = sort && *sort == '-';
    const char *field = sort ? sort + down : "created";

    if (strcmp(field, "name") == 0)
        qsort(lists, n, sizeof(struct list *), by_name);
    else if (strcmp(field, "id") == 0)
        qsort(lists, n, sizeof(struct list *), by_id);
    else if (strcmp(field, "created") != 0 && strcmp(field, "updated") != 0) {
        answer_bad_parameter(call->answer, "sort", "'%s' is not a valid sort.", field);
        return false;
    }
    for (size_t i = 0; down && i < n / 2; i++) {
        struct list *other = lists[n - 1 - i];

        lists[n - 1 - i] = lists[i];
        lists[i] = other;
    }
    return true;
}

/* A cursor of this listing holds the place of the last one shown. */
static void answer_lists(struct call *call, struct list *const *lists, size_t n,
                         const struct page *page)
{
    struct strbuf *out = answer_document(call->answer, 200);
    size_t from = page->begun && page->number >= 0 ? (size_t)page->number + 1 : 0;
    size_t to = from < n && n - from > page->size ? from + page->size : n;

    strbuf_add_str(out, "{\"data\":[");
    for (size_t i = from; i < to; i++) {
        strbuf_add_str(out, i > from ? "," : "");
        resource_list(call, out, lists[i], false);
    }
    strbuf_add_str(out, "],");
    page_add_links(out, call->request, to < n, 0, (int64_t)to - 1);
    strbuf_add_str(out, "}");
}

void call_lists(struct call *call)
{
    static const char *const allowed[] = { "filter",       "sort",         "include", "page[size]",
                                           "page[cursor]", "fields[list]", NULL };
    CLEANUP(filter_release) struct filter filter = { 0 };
    const struct lists *all = &call->world->lists;
    struct page page;
    size_t n = 0;

    if (!call_allows(call, allowed) ||
        !page_parse(&page, call->request, (struct page_limits){ .fallback = 10, .max = 10 },
                    call->answer) ||
        !parse_list_filter(call, &filter))
        return;

    struct list **fitting = memory_new(all->n * sizeof(struct list *));
    for (size_t i = 0; i < all->n; i++)
        if (list_fits(call, &filter, all->list[i]))
            fitting[n++] = all->list[i];
    if (sort_lists(call, fitting, n))
        answer_lists(call, fitting, n, &page);
    free(fitting);
}

/* The body as JSON, or NULL and a 400. */
static json_t *read_body(struct call *call)
{
    json_error_t why;
    json_t *body =
        json_loadb(call->request->body, call->request->body_n, JSON_REJECT_DUPLICATES, &why);

    if (!body)
        answer_error(call->answer, 400, "invalid", "Invalid input.", "/data", "Invalid JSON: %s",
                     why.text);
    return body;
}

static void create_list(struct call *call, json_t *body)
{
    const char *type = NULL, *name = NULL, *opt_in = NULL;

    (void)json_unpack(body, "{s:{s:s, s:{s:s, s?s}}}", "data", "type", &type, "attributes", "name",
                      &name, "opt_in_process", &opt_in);
    if (!type || strcmp(type, "list") != 0 || !name || !*name) {
        answer_error(call->answer, 400, "invalid", "Invalid input.", "/data/attributes/name",
                     "A list needs a name.");
        return;
    }
    struct list *list = lists_add(&call->world->lists, NULL, call->account, name, call->now_us);
    if (opt_in)
        (void)snprintf(list->opt_in, sizeof list->opt_in, "%s", opt_in);
    (void)snprintf(call->list, sizeof call->list, "%s", list->id);
    answer_list(call, list, 201, false);
}

void call_list_create(struct call *call)
{
    json_t *body = read_body(call);

    if (body)
        create_list(call, body);
    json_decref(body);
}

/* The number of the profile that entry i names; PROFILE_NONE: none, or malformed. */
static uint32_t named_profile(const struct call *call, const json_t *data, size_t i)
{
    const json_t *entry = json_array_get(data, i);
    const char *type = json_string_value(json_object_get(entry, "type"));
    const char *id = json_string_value(json_object_get(entry, "id"));

    if (!type || !id || strcmp(type, "profile") != 0)
        return PROFILE_NONE;
    return profiles_by_id(&call->account->profiles, id, strlen(id));
}

/* True if every id is somebody's, or unknown ones are to be passed over. */
static bool check_profiles(struct call *call, const json_t *data)
{
    bool ignore = call->behaviour.unknown_profile == UNKNOWN_ID_IGNORE;
    int status = call->behaviour.unknown_profile == UNKNOWN_ID_400 ? 400 : 404;

    for (size_t i = 0; !ignore && i < json_array_size(data); i++) {
        if (named_profile(call, data, i) != PROFILE_NONE)
            continue;
        const char *id = json_string_value(json_object_get(json_array_get(data, i), "id"));
        answer_error(call->answer, status, status == 404 ? "not_found" : "invalid",
                     status == 404 ? "Not found." : "Invalid input.", "/data",
                     "A profile with id %s does not exist.", id ? id : "null");
        return false;
    }
    return true;
}

static void change_members(struct call *call, struct list *list, const json_t *data)
{
    bool add = call->operation == OP_LIST_ADD;

    for (size_t i = 0; i < json_array_size(data); i++) {
        uint32_t number = named_profile(call, data, i);

        if (number != PROFILE_NONE && add)
            list_join(list, number, call->now_us);
        else if (number != PROFILE_NONE)
            list_leave(list, number);
    }
    call->answer->status = 204;
}

static void change(struct call *call, struct list *list, const json_t *data)
{
    size_t n = json_array_size(data);

    if (!json_is_array(data) || n == 0 || n > CHANGE_MAX)
        answer_error(call->answer, 400, "invalid", "Invalid input.", "/data",
                     "From 1 to %d profiles are needed.", CHANGE_MAX);
    else if (check_profiles(call, data))
        change_members(call, list, data);
}

void call_list_change(struct call *call)
{
    struct list *list = find_list(call);
    json_t *body = list ? read_body(call) : NULL;

    if (body)
        change(call, list, json_object_get(body, "data"));
    json_decref(body);
}

static bool parse_member_sort(struct call *call, struct selection *selection)
{
    const char *sort = request_arg(call->request, "sort");

    if (!sort)
        return true;
    if (strcmp(sort, "joined_group_at") == 0)
        selection->order = ORDER_JOINED;
    else if (strcmp(sort, "-joined_group_at") == 0)
        selection->order = ORDER_JOINED_DOWN;
    else
        answer_bad_parameter(call->answer, "sort", "'%s' is not a valid sort.", sort);
    return selection->order != ORDER_NUMBER;
}

void call_list_members(struct call *call)
{
    static const char *const allowed[] = { "filter",
                                           "sort",
                                           "page[size]",
                                           "page[cursor]",
                                           "fields[profile]",
                                           "additional-fields[profile]",
                                           NULL };
    CLEANUP(filter_release) struct filter filter = { 0 };
    const struct list *list = call_allows(call, allowed) ? find_list(call) : NULL;
    struct selection selection = { .account = call->account, .list = list };

    if (!list || !selection_parse(&selection, call, &filter) ||
        !parse_member_sort(call, &selection))
        return;
    selection_pick(&selection);
    selection_answer(&selection, call, call->operation == OP_LIST_MEMBER_IDS);
}

void call_list_flows(struct call *call)
{
    static const char *const allowed[] = { "fields[flow]", NULL };
    const struct list *list = call_allows(call, allowed) ? find_list(call) : NULL;

    if (!list)
        return;
    struct strbuf *out = answer_document(call->answer, 200);
    strbuf_add_str(out, "{\"data\":[");
    for (size_t i = 0; i < list->n_flows; i++) {
        strbuf_add_str(out, i ? "," : "");
        resource_flow(call, out, list, &list->flows[i]);
    }
    strbuf_add_str(out, "],");
    page_add_links(out, call->request, false, 0, 0);
    strbuf_add_str(out, "}");
}
