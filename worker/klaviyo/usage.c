#include "worker/klaviyo/usage.h"

#include <string.h>

#include "worker/klaviyo/document.h"

/* From 2^53 on a number with a fraction says less than whole profiles. */
static bool is_amount(const json_t *value)
{
    double number = json_number_value(value);

    return json_is_number(value) && number >= 0 && number < 9007199254740992.0;
}

/* A fraction counts as a whole profile. */
static int64_t rounded_up(double number)
{
    int64_t whole = (int64_t)number;

    return (double)whole < number ? whole + 1 : whole;
}

/* Null and absent: none. A whole number may be as large as any. */
static bool read_maximum(const json_t *value, int64_t *maximum)
{
    *maximum = document_count(value);
    if (*maximum >= 0 || !value || json_is_null(value))
        return true;
    if (!is_amount(value))
        return false;
    *maximum = (int64_t)json_number_value(value);
    return true;
}

/* Only without a limit may it be missing: else nobody knows how much room there is. */
static bool read_used(const json_t *value, int64_t maximum, int64_t *used)
{
    *used = 0;
    if ((!value || json_is_null(value)) && maximum < 0)
        return true;
    if (!is_amount(value))
        return false;
    *used = rounded_up(json_number_value(value));
    return true;
}

static bool counts_profiles(const json_t *attributes)
{
    const char *unit = json_string_value(json_object_get(attributes, "unit"));

    return unit && strcmp(unit, "profiles") == 0;
}

/* False: it counts profiles, and its numbers are none. */
static bool add_row(struct usage *usage, const json_t *resource)
{
    const json_t *attributes = json_object_get(resource, "attributes");

    if (usage->n == USAGE_MAX_ROWS || !counts_profiles(attributes))
        return true;

    struct usage_row *row = &usage->rows[usage->n++];
    document_copy(row->name, sizeof row->name, json_string_value(json_object_get(resource, "id")));
    return read_maximum(json_object_get(attributes, "usage_max"), &row->maximum) &&
           read_used(json_object_get(attributes, "usage_used"), row->maximum, &row->used);
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
    struct usage usage = { .n = 0 };
    json_array_foreach(data, i, resource)
        if (!add_row(&usage, resource))
            return document_refuse(response, "a number of profiles is none", err);
    *out = usage;
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
