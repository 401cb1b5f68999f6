#include "worker/http/list_filter.h"

#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/parse.h"
#include "worker/store/run_state.h"

bool list_filter_is_empty(const struct list_filter *filter)
{
    return !*filter->limit && !*filter->export_name && !*filter->state;
}

static bool limit_of(const struct list_filter *filter, int64_t *limit)
{
    *limit = LIST_FILTER_LIMIT_MAX;
    return !*filter->limit || parse_int64(filter->limit, 1, LIST_FILTER_LIMIT_MAX, limit);
}

static bool is_state_of_run(const char *name)
{
    enum run_state known;

    return run_state_of(name, &known);
}

/* As export_view.h has them. */
static bool is_state_of_export(const char *name)
{
    return strcmp(name, "active") == 0 || strcmp(name, "paused") == 0 || strcmp(name, "stale") == 0;
}

static const char *state_problem(const char *state, enum list_filter_of list)
{
    switch (list) {
    case LIST_FILTER_OF_RUNS:
        return is_state_of_run(state) ? NULL : "state is none of a run: those are " RUN_STATE_NAMES;
    case LIST_FILTER_OF_EXPORTS:
        break;
    }
    return is_state_of_export(state) ? NULL
                                     : "state is none of an export: those are active, paused and "
                                       "stale";
}

const char *list_filter_problem(const struct list_filter *filter, enum list_filter_of list)
{
    int64_t limit;

    if (!limit_of(filter, &limit))
        return "limit is no whole number from 1 to 1000";
    return *filter->state ? state_problem(filter->state, list) : NULL;
}

int64_t list_filter_limit(const struct list_filter *filter, int64_t otherwise)
{
    int64_t limit;

    return *filter->limit && limit_of(filter, &limit) ? limit : otherwise;
}

bool list_filter_is_within(const struct list_filter *filter, int64_t n)
{
    return !*filter->export_name && !*filter->state && list_filter_limit(filter, n) <= n;
}

bool list_filter_is_same(const struct list_filter *filter, const struct list_filter *other)
{
    return strcmp(filter->limit, other->limit) == 0 &&
           strcmp(filter->export_name, other->export_name) == 0 &&
           strcmp(filter->state, other->state) == 0;
}

static bool has(const json_t *item, const char *member, const char *wanted)
{
    const char *text = json_string_value(json_object_get(item, member));

    return !*wanted || (text && strcmp(text, wanted) == 0);
}

static json_t *pick(const struct list_filter *filter, const char *name_member, int64_t limit,
                    const json_t *all)
{
    json_t *picked = json_array(), *item;
    size_t i;

    json_array_foreach(all, i, item) {
        if ((int64_t)json_array_size(picked) < limit &&
            has(item, name_member, filter->export_name) && has(item, "state", filter->state) &&
            json_array_append(picked, item) != 0)
            break;
    }
    return picked;
}

bool list_filter_apply(const struct list_filter *filter, const char *name_member, int64_t otherwise,
                       const char *list, struct strbuf *out)
{
    CLEANUP(json_freep) json_t *all = json_loads(list, 0, NULL);
    CLEANUP(json_freep)
    json_t *picked =
        all ? pick(filter, name_member, list_filter_limit(filter, otherwise), all) : NULL;
    char *text = picked ? json_dumps(picked, JSON_COMPACT) : NULL;

    if (!text)
        return false;
    strbuf_add_str(out, text);
    free(text);
    return true;
}
