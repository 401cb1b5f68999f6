#include "worker/http/runs_filter.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/parse.h"

DEFINE_HANDLE(json, json_t, json_decref)

bool runs_filter_is_empty(const struct runs_filter *filter)
{
    return !*filter->limit && !*filter->export_name && !*filter->state;
}

static bool limit_of(const struct runs_filter *filter, int64_t *limit)
{
    *limit = RUNS_FILTER_LIMIT_MAX;
    return !*filter->limit || parse_int64(filter->limit, 1, RUNS_FILTER_LIMIT_MAX, limit);
}

bool runs_filter_is_good(const struct runs_filter *filter)
{
    int64_t limit;

    return limit_of(filter, &limit);
}

static bool has(const json_t *run, const char *member, const char *wanted)
{
    const char *text = json_string_value(json_object_get(run, member));

    return !*wanted || (text && strcmp(text, wanted) == 0);
}

static json_t *pick(const struct runs_filter *filter, const json_t *runs)
{
    json_t *picked = json_array(), *run;
    int64_t limit;
    size_t i;

    if (!limit_of(filter, &limit))
        limit = 0;
    json_array_foreach(runs, i, run) {
        if ((int64_t)json_array_size(picked) < limit && has(run, "export", filter->export_name) &&
            has(run, "state", filter->state) && json_array_append(picked, run) != 0)
            break;
    }
    return picked;
}

bool runs_filter_apply(const struct runs_filter *filter, const char *runs, struct strbuf *out)
{
    CLEANUP(json_freep) json_t *all = json_loads(runs, 0, NULL);
    CLEANUP(json_freep) json_t *picked = all ? pick(filter, all) : NULL;
    char *text = picked ? json_dumps(picked, JSON_COMPACT) : NULL;

    if (!text)
        return false;
    strbuf_add_str(out, text);
    free(text);
    return true;
}
