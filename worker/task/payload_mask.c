#include "worker/task/payload_mask.h"

#include "common/json.h"

static json_t *masked(json_t *value); /* NULL: out of memory */

static json_t *masked_object(json_t *object)
{
    CLEANUP(json_freep) json_t *out = json_object();
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
        if (json_object_set_new(out, name, masked(value)) != 0)
            return NULL;
    return json_take(&out);
}

static json_t *masked_array(json_t *array)
{
    CLEANUP(json_freep) json_t *out = json_array();
    size_t i;
    json_t *value;

    json_array_foreach(array, i, value)
        if (json_array_append_new(out, masked(value)) != 0)
            return NULL;
    return json_take(&out);
}

/* The parser has bounded the depth (2048, JSON_PARSER_MAX_DEPTH). */
/* NOLINTNEXTLINE(misc-no-recursion) */
static json_t *masked(json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return masked_object(value);
    case JSON_ARRAY:
        return masked_array(value);
    case JSON_STRING:
        return json_string("<string>");
    case JSON_INTEGER:
    case JSON_REAL:
        return json_string("<number>");
    case JSON_TRUE:
    case JSON_FALSE:
        return json_string("<boolean>");
    case JSON_NULL:
        break;
    }
    return json_null();
}

bool payload_mask(json_t *payload)
{
    json_t *attributes = json_object_get(payload, "attributes");

    return !attributes || json_object_set_new(payload, "attributes", masked(attributes)) == 0;
}
