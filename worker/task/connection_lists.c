/*
 * The task `connection lists`: the lists of the account, and how many profiles
 * they have. Argument: sizes (of all of them; else of those that were changed
 * last, as Klaviyo tells only 15 a minute). Answer: lists ([{"id", "name",
 * "profiles"}], those that were changed last first; null: not asked, or not
 * known), more (there are others).
 */
#include <stdlib.h>

#include "common/json.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/list_page.h"
#include "worker/task/stored_key.h"
#include "worker/task/task_arguments.h"
#include "worker/task/task_kind.h"

enum {
    LISTS_MAX = 2000,
    SIZES_AT_ONCE = 7, /* half of a minute's worth: a second call need not wait */
};

struct listing {
    const struct task_context *context;
    struct klaviyo_query *query;
    const char *connection;
    json_t *lists;
    bool more;
};

/* The words for what is not an answer; a task that was stopped keeps its kind. */
static bool failed(const struct listing *l, enum klaviyo_query_outcome outcome, struct error *err)
{
    if (outcome == KLAVIYO_QUERY_GONE)
        return error_set(err, ERROR_INPUT, "connection %s: Klaviyo has no lists", l->connection);
    return error_wrap(err, "connection %s", l->connection);
}

static bool add_page(struct listing *l, const struct list_page *page, struct error *err)
{
    for (size_t i = 0; i < page->n; i++) {
        if (json_array_size(l->lists) == LISTS_MAX) {
            l->more = true;
            return true;
        }
        json_t *list = json_pack("{s:s, s:s, s:n}", "id", page->lists[i].id, "name",
                                 page->lists[i].name, "profiles");
        if (!list || json_array_append_new(l->lists, list) != 0)
            return error_no_memory(err);
    }
    l->more = page->next != NULL;
    return true;
}

/* One page after the other; each lends the link to the next one. */
static bool read_pages(struct listing *l, struct error *err)
{
    CLEANUP(list_page_release) struct list_page page = LIST_PAGE_INIT;

    do {
        struct list_page next = LIST_PAGE_INIT;
        if (!task_progress(l->context, "reading lists", (int64_t)json_array_size(l->lists), 0, err))
            return false;
        enum klaviyo_query_outcome outcome = klaviyo_query_lists(l->query, page.next, &next, err);
        if (outcome != KLAVIYO_QUERY_ANSWERED)
            return failed(l, outcome, err);
        list_page_release(&page);
        page = next;
        if (!add_page(l, &page, err))
            return false;
    } while (page.next && json_array_size(l->lists) < LISTS_MAX);
    return true;
}

/* What ends the task, as opposed to a size that Klaviyo does not give. */
static bool is_the_end(const struct listing *l, enum klaviyo_query_outcome outcome,
                       const struct error *why)
{
    return outcome == KLAVIYO_QUERY_KEY_REFUSED || why->kind == ERROR_LOST ||
           (outcome == KLAVIYO_QUERY_FAILED && !db_is_up(l->context->db));
}

/* A size that Klaviyo does not give stays null. */
static bool ask_size(struct listing *l, json_t *list, struct error *err)
{
    const char *id = json_string_value(json_object_get(list, "id"));
    struct error why = ERROR_INIT;
    int64_t profiles;

    if (!klaviyo_list_id_check(id, &why))
        return true;
    why = ERROR_INIT;
    enum klaviyo_query_outcome outcome = klaviyo_query_list_size(l->query, id, &profiles, &why);
    if (outcome == KLAVIYO_QUERY_ANSWERED && profiles >= 0)
        (void)json_object_set_new(list, "profiles", json_integer(profiles));
    if (is_the_end(l, outcome, &why)) {
        *err = why;
        return error_wrap(err, "connection %s", l->connection);
    }
    return true;
}

static bool ask_sizes(struct listing *l, size_t most, struct error *err)
{
    size_t n = json_array_size(l->lists) < most ? json_array_size(l->lists) : most;

    for (size_t i = 0; i < n; i++)
        if (!task_progress(l->context, "asking for sizes", (int64_t)i, (int64_t)n, err) ||
            !ask_size(l, json_array_get(l->lists, i), err))
            return false;
    return true;
}

bool connection_lists_task(const struct task_context *context, const json_t *arguments,
                           json_t **answer, struct error *err)
{
    CLEANUP(json_freep) json_t *lists = json_array();
    bool all = json_is_true(json_object_get(arguments, "sizes"));
    struct listing l = { .context = context, .connection = task_name(arguments), .lists = lists };
    CLEANUP(klaviyo_query_freep)
    struct klaviyo_query *query = stored_key_query(context, l.connection, NULL, err);

    l.query = query;
    if (!query || !read_pages(&l, err) || !ask_sizes(&l, all ? LISTS_MAX : SIZES_AT_ONCE, err))
        return false;
    *answer = json_pack("{s:O, s:b}", "lists", lists, "more", l.more);
    return *answer || error_no_memory(err);
}
