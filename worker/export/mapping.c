#include "worker/export/mapping.h"

#include <stdbool.h>
#include <stdlib.h>

#define HEAD "{\"type\":\"profile\",\"attributes\":{\"email\":\""
#define LOCATION "location."

enum { KEY_MAX_BYTES = 8 * 1024 };

enum group { GROUP_ATTRIBUTE, GROUP_LOCATION, GROUP_PROPERTY };

struct key {
    enum group group;
    char *text; /* "name": as in JSON, with the colon */
};

struct mapping {
    struct key *keys;
    size_t n;
};

/* The name as a JSON string and a colon; names hold no control characters. */
static char *make_key(const char *name)
{
    CLEANUP(strbuf_release) struct strbuf key = STRBUF_INIT(KEY_MAX_BYTES);

    strbuf_add(&key, "\"", 1);
    for (const char *at = name; *at; at++) {
        if (*at == '"' || *at == '\\')
            strbuf_add(&key, "\\", 1);
        if ((unsigned char)*at < 0x20)
            strbuf_addf(&key, "\\u%04x", (unsigned)*at);
        else
            strbuf_add(&key, at, 1);
    }
    strbuf_add_str(&key, "\":");
    return strbuf_take(&key);
}

static bool key_init(struct key *key, const struct export_field *field)
{
    bool in_location = strncmp(field->name, LOCATION, sizeof LOCATION - 1) == 0;
    const char *name = field->name;

    key->group = GROUP_ATTRIBUTE;
    if (field->is_property) {
        key->group = GROUP_PROPERTY;
    } else if (in_location) {
        key->group = GROUP_LOCATION;
        name += sizeof LOCATION - 1;
    }
    key->text = make_key(name);
    return key->text != NULL;
}

struct mapping *mapping_new(const struct export_field *fields, size_t n_fields)
{
    CLEANUP(mapping_freep) struct mapping *mapping = calloc(1, sizeof *mapping);

    if (!mapping)
        return NULL;
    mapping->keys = calloc(n_fields + 1, sizeof *mapping->keys);
    if (!mapping->keys)
        return NULL;
    mapping->n = n_fields;
    for (size_t i = 0; i < n_fields; i++)
        if (!key_init(&mapping->keys[i], &fields[i]))
            return NULL;
    return mapping_take(&mapping);
}

void mapping_free(struct mapping *mapping)
{
    if (!mapping)
        return;
    for (size_t i = 0; i < mapping->n; i++)
        free(mapping->keys[i].text);
    free(mapping->keys);
    free(mapping);
}

static bool is_null(const struct copy_field *value)
{
    return !value->bytes || (value->len == 4 && memcmp(value->bytes, "null", 4) == 0);
}

/* The group's members that have a value, each after `lead`, which then is a comma. */
static bool add_group(const struct mapping *mapping, struct strbuf *out, enum group group,
                      const char *lead, const struct copy_field *values)
{
    bool any = false;

    for (size_t i = 0; i < mapping->n; i++) {
        if (mapping->keys[i].group != group || is_null(&values[i]))
            continue;
        strbuf_add_str(out, any ? "," : lead);
        strbuf_add_str(out, mapping->keys[i].text);
        strbuf_add(out, values[i].bytes, values[i].len);
        any = true;
    }
    return any;
}

void mapping_add(const struct mapping *mapping, struct strbuf *out, const char *address,
                 size_t address_len, const struct copy_field *values)
{
    strbuf_add_str(out, HEAD);
    strbuf_add(out, address, address_len);
    strbuf_add(out, "\"", 1);
    (void)add_group(mapping, out, GROUP_ATTRIBUTE, ",", values);
    if (add_group(mapping, out, GROUP_LOCATION, ",\"location\":{", values))
        strbuf_add(out, "}", 1);
    if (add_group(mapping, out, GROUP_PROPERTY, ",\"properties\":{", values))
        strbuf_add(out, "}", 1);
    strbuf_add_str(out, "}}");
}

const char *mapping_address(const char *object, size_t len, size_t *address_len)
{
    size_t head = sizeof HEAD - 1;

    if (len < head || memcmp(object, HEAD, head) != 0)
        return NULL;
    const char *end = memchr(object + head, '"', len - head);
    if (!end)
        return NULL;
    *address_len = (size_t)(end - object) - head;
    return object + head;
}
