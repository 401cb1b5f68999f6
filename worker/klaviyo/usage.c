#include "worker/klaviyo/usage.h"

#include <string.h>

#include "worker/klaviyo/document.h"

/* Use is a number, perhaps with a fraction, which counts as a whole profile; 2^53 is no response.
 */
static int64_t read_used(const json_t *value)
{
    double used = json_number_value(value);

    if (!(used >= 0 && used < 9007199254740992.0))
        return 0;

    int64_t whole = (int64_t)used;
    return (double)whole < used ? whole + 1 : whole;
}

static bool counts_profiles(const json_t *attributes)
{
    const char *unit = json_string_value(json_object_get(attributes, "unit"));

    return unit && strcmp(unit, "profiles") == 0;
}

static void add_row(struct usage *usage, const json_t *resource)
{
    const json_t *attributes = json_object_get(resource, "attributes");

    if (usage->n == USAGE_MAX_ROWS || !counts_profiles(attributes))
        return;

    struct usage_row *row = &usage->rows[usage->n++];
    document_copy(row->name, sizeof row->name, json_string_value(json_object_get(resource, "id")));
    row->used = read_used(json_object_get(attributes, "usage_used"));
    row->maximum = document_count(json_object_get(attributes, "usage_max"));
}

struct request usage_request(void)
{
    return (struct request){ .endpoint = ENDPOINT_USAGE };
}

bool usage_parse(const struct response *response, struct usage *out, struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;

    json_t *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return document_refuse(response, "it holds no array of usages", err);

    size_t i;
    json_t *resource;
    *out = (struct usage){ .n = 0 };
    json_array_foreach(data, i, resource)
        add_row(out, resource);
    return true;
}

static bool is_tighter(const struct usage_row *row, const struct usage_row *other)
{
    if (row->maximum < 0 || other->maximum < 0)
        return row->maximum >= 0;
    return row->maximum - row->used < other->maximum - other->used;
}

const struct usage_row *usage_tightest(const struct usage *usage)
{
    const struct usage_row *tightest = NULL;

    for (size_t i = 0; i < usage->n; i++)
        if (!tightest || is_tighter(&usage->rows[i], tightest))
            tightest = &usage->rows[i];
    return tightest;
}
