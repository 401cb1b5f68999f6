#include "worker/export/mapping.h"

#include <stdlib.h>
#include <string.h>

#include "common/visible_text.h"
#include "worker/export/address.h"
#include "worker/klaviyo/attribute.h"

#define HEAD "{\"type\":\"profile\",\"attributes\":{\"email\":\""
#define LOCATION "location."

enum {
    KEY_MAX_BYTES = 8 * 1024,
    ESCAPED_BYTES = 6, /* of one byte of a string in JSON: \u0001 */
    FRAME_BYTES = 256, /* an object without address, keys and values, rounded up */
    COMMAS_BYTES = 6,  /* with a key that has a value, and one that is unset; quotes */
};

enum group { GROUP_NONE, GROUP_ATTRIBUTE, GROUP_LOCATION, GROUP_PROPERTY };

struct key {
    enum group group;
    enum attribute_kind kind; /* unknown for a property, which takes any value */
    char *text;               /* "name": as in JSON, with the colon */
    uint64_t bit;             /* in a set of fields */
    struct mapping_count count;
};

struct mapping {
    struct key *keys;
    size_t n;
};

/* The name as a JSON string and a colon. */
static char *make_key(const char *name)
{
    CLEANUP(strbuf_release) struct strbuf key = STRBUF_INIT(KEY_MAX_BYTES);

    strbuf_add(&key, "\"", 1);
    if (!visible_text_add(&key, VISIBLE_JSON, name, strlen(name), KEY_MAX_BYTES))
        return NULL;
    strbuf_add_str(&key, "\":");
    return strbuf_take(&key);
}

/* FNV-1a (Fowler, Noll, Vo; 64 bits), its upper six bits. */
static uint64_t bit_of(const struct export_field *field)
{
    uint64_t hash = 0xcbf29ce484222325U ^ (uint64_t)field->is_property;

    for (const char *at = field->name; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3U;
    return UINT64_C(1) << (hash >> 58);
}

static bool key_init(struct key *key, const struct export_field *field)
{
    bool in_location = strncmp(field->name, LOCATION, sizeof LOCATION - 1) == 0;
    const char *name = field->name;

    key->kind = field->is_property ? ATTRIBUTE_UNKNOWN : attribute_kind(name);
    key->group = GROUP_ATTRIBUTE;
    if (field->is_property) {
        key->group = GROUP_PROPERTY;
    } else if (key->kind == ATTRIBUTE_UNKNOWN) {
        key->group = GROUP_NONE;
    } else if (in_location) {
        key->group = GROUP_LOCATION;
        name += sizeof LOCATION - 1;
    }
    key->bit = bit_of(field);
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

static bool is_null(const struct bytes *value)
{
    return !value->at || (value->n == 4 && memcmp(value->at, "null", 4) == 0);
}

enum form { FORM_AS_IT_IS, FORM_IN_QUOTES, FORM_NONE };

/* How a JSON text goes into an attribute of that kind: its first byte tells what it is. */
static enum form form_of(enum attribute_kind kind, const struct bytes *value)
{
    char first = '\0';

    if (value->n > 0)
        first = value->at[0];
    bool is_structure = first == '{' || first == '[';
    bool is_boolean = first == 't' || first == 'f';

    switch (kind) {
    case ATTRIBUTE_UNKNOWN:
        return FORM_AS_IT_IS;
    case ATTRIBUTE_NUMBER:
        return is_structure || is_boolean ? FORM_NONE : FORM_AS_IT_IS;
    case ATTRIBUTE_TEXT:
        break;
    }
    if (is_structure)
        return FORM_NONE;
    return first == '"' ? FORM_AS_IT_IS : FORM_IN_QUOTES;
}

/* False: there is nothing to add. */
static bool add_value(struct key *key, struct strbuf *out, const char *lead,
                      const struct bytes *value)
{
    if (is_null(value))
        return false;
    enum form form = form_of(key->kind, value);
    key->count.with_value++;
    key->count.no_text += form == FORM_NONE;
    if (form == FORM_NONE)
        return false;
    strbuf_add_str(out, lead);
    strbuf_add_str(out, key->text);
    strbuf_add_str(out, form == FORM_IN_QUOTES ? "\"" : "");
    strbuf_add(out, value->at, value->n);
    strbuf_add_str(out, form == FORM_IN_QUOTES ? "\"" : "");
    return true;
}

/* The group's members that have a value, each after `lead`, which then is a comma. */
static bool add_group(struct mapping *mapping, struct strbuf *out, enum group group,
                      const char *lead, const struct bytes *values)
{
    bool any = false;

    for (size_t i = 0; i < mapping->n; i++)
        if (mapping->keys[i].group == group)
            any |= add_value(&mapping->keys[i], out, any ? "," : lead, &values[i]);
    return any;
}

void mapping_add(struct mapping *mapping, struct strbuf *out, const char *address,
                 size_t address_len, const struct bytes *values)
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

int64_t mapping_room_for_values(const struct mapping *mapping, int64_t object_bytes)
{
    int64_t rest = object_bytes - FRAME_BYTES - ADDRESS_MAX;

    for (size_t i = 0; i < mapping->n; i++)
        rest -= 2 * (int64_t)strlen(mapping->keys[i].text) + COMMAS_BYTES;
    return rest < 0 ? -1 : rest / ESCAPED_BYTES;
}

static bool has_value(const struct key *key, const struct bytes *value)
{
    return key->group != GROUP_NONE && !is_null(value) && form_of(key->kind, value) != FORM_NONE;
}

uint64_t mapping_filled(const struct mapping *mapping, const struct bytes *values)
{
    uint64_t filled = 0;

    for (size_t i = 0; i < mapping->n; i++)
        if (has_value(&mapping->keys[i], &values[i]))
            filled |= mapping->keys[i].bit;
    return filled;
}

uint64_t mapping_properties(const struct mapping *mapping)
{
    uint64_t properties = 0;

    for (size_t i = 0; i < mapping->n; i++)
        if (mapping->keys[i].group == GROUP_PROPERTY)
            properties |= mapping->keys[i].bit;
    return properties;
}

static bool has_lost_value(const struct key *key, uint64_t before, const struct bytes *value)
{
    return (before & key->bit) && !has_value(key, value);
}

void mapping_add_unset(const struct mapping *mapping, struct strbuf *out, uint64_t before,
                       const struct bytes *values)
{
    bool any = false;

    for (size_t i = 0; i < mapping->n; i++) {
        const struct key *key = &mapping->keys[i];

        if (key->group != GROUP_PROPERTY || !has_lost_value(key, before, &values[i]))
            continue;
        if (!any && strbuf_ok(out))
            strbuf_rewind(out, out->len - 1); /* the object's last brace */
        strbuf_add_str(out, any ? "," : ",\"meta\":{\"patch_properties\":{\"unset\":[");
        strbuf_add(out, key->text, strlen(key->text) - 1); /* without the colon */
        any = true;
    }
    if (any)
        strbuf_add_str(out, "]}}}");
}

bool mapping_cannot_clear(const struct mapping *mapping, uint64_t before,
                          const struct bytes *values)
{
    for (size_t i = 0; i < mapping->n; i++) {
        const struct key *key = &mapping->keys[i];

        if ((key->group == GROUP_ATTRIBUTE || key->group == GROUP_LOCATION) &&
            has_lost_value(key, before, &values[i]))
            return true;
    }
    return false;
}

struct mapping_count mapping_count(const struct mapping *mapping, size_t field)
{
    return mapping->keys[field].count;
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
