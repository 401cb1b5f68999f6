#include "tests/simulator/profile.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulator/memory.h"

#define MERGED_MAX ((size_t)64 * 1024 * 1024)

/* Above this many layers they are merged, so that a profile's memory stays bounded. */
enum { LAYERS_MAX = 8 };

struct profile_layer {
    struct profile_layer *below;
    uint64_t shape;
    uint32_t n;
    uint32_t depth; /* how many layers there are with this one */
    bool merged;    /* the only layer, and free of nulls */
    char text[];
};

static bool same_email(const void *owner, uint32_t number, const char *key, size_t n)
{
    const char *email = ((const struct profiles *)owner)->list[number].email;

    return email && strncmp(email, key, n) == 0 && email[n] == '\0';
}

static bool same_external_id(const void *owner, uint32_t number, const char *key, size_t n)
{
    const char *id = ((const struct profiles *)owner)->list[number].external_id;

    return id && strncmp(id, key, n) == 0 && id[n] == '\0';
}

static bool same_phone(const void *owner, uint32_t number, const char *key, size_t n)
{
    const char *phone = ((const struct profiles *)owner)->list[number].phone;

    return phone && strncmp(phone, key, n) == 0 && phone[n] == '\0';
}

uint32_t profiles_by_email(const struct profiles *profiles, const char *email, size_t n)
{
    return index_find(&profiles->by_email, index_hash(email, n), email, n, same_email, profiles);
}

uint32_t profiles_by_external_id(const struct profiles *profiles, const char *id, size_t n)
{
    return index_find(&profiles->by_external_id, index_hash(id, n), id, n, same_external_id,
                      profiles);
}

static uint32_t by_phone(const struct profiles *profiles, const char *phone, size_t n)
{
    return index_find(&profiles->by_phone, index_hash(phone, n), phone, n, same_phone, profiles);
}

static const char base32[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static void put_base32(char *out, size_t n, uint64_t value)
{
    while (n-- > 0) {
        out[n] = base32[value & 31];
        value >>= 5;
    }
}

enum { ID_TIME = 10, ID_SALT = 9, ID_NUMBER = 7 };

void profiles_format_id(const struct profiles *profiles, uint32_t number, char *out)
{
    put_base32(out, ID_TIME, (uint64_t)profiles->list[number].created_us / 1000);
    put_base32(out + ID_TIME, ID_SALT, profiles->salt);
    put_base32(out + ID_TIME + ID_SALT, ID_NUMBER, number);
    out[ID_TIME + ID_SALT + ID_NUMBER] = '\0';
}

uint32_t profiles_by_id(const struct profiles *profiles, const char *id, size_t n)
{
    char right[PROFILE_ID_BYTES];
    uint64_t number = 0;

    if (n != PROFILE_ID_BYTES - 1)
        return PROFILE_NONE;
    for (size_t i = ID_TIME + ID_SALT; i < n; i++) {
        const char *digit = id[i] ? strchr(base32, id[i]) : NULL;

        if (!digit)
            return PROFILE_NONE;
        number = number << 5 | (uint64_t)(digit - base32);
    }
    if (number >= profiles->n)
        return PROFILE_NONE;
    profiles_format_id(profiles, (uint32_t)number, right);
    return memcmp(right, id, n) == 0 ? (uint32_t)number : PROFILE_NONE;
}

uint32_t profiles_by_row(const struct profiles *profiles, const struct import *import,
                         const struct import_row *row)
{
    if (row->id.n)
        return profiles_by_id(profiles, import_text(import, row->id), row->id.n);
    if (row->email.n)
        return index_find(&profiles->by_email, row->email_hash, import_text(import, row->email),
                          row->email.n, same_email, profiles);
    if (row->external_id.n)
        return profiles_by_external_id(profiles, import_text(import, row->external_id),
                                       row->external_id.n);
    return by_phone(profiles, import_text(import, row->phone), row->phone.n);
}

static uint32_t create(struct profiles *profiles, int64_t now_us)
{
    assert(profiles->n < UINT32_MAX - 1);

    profiles->list =
        memory_grow(profiles->list, &profiles->cap, profiles->n + 1, sizeof *profiles->list);
    profiles->list[profiles->n].created_us = now_us;
    return (uint32_t)profiles->n++;
}

/* One kind of identifier: where this profile keeps it, and how all are found by it. */
struct identifier {
    char **slot;
    struct index *index;
    index_match_fn *match;
};

/* Gives the profile an identifier that it lacks and that is nobody's yet. */
static void adopt(struct profiles *profiles, uint32_t number, struct identifier kind,
                  const char *text, size_t n)
{
    uint32_t hash = index_hash(text, n);

    if (n == 0 || *kind.slot ||
        index_find(kind.index, hash, text, n, kind.match, profiles) != INDEX_NONE)
        return;
    *kind.slot = memory_text(text, n);
    index_add(kind.index, hash, number);
}

static void adopt_all(struct profiles *profiles, uint32_t number, const struct import *import,
                      const struct import_row *row)
{
    struct profile *profile = &profiles->list[number];
    struct identifier email = { &profile->email, &profiles->by_email, same_email };
    struct identifier external_id = { &profile->external_id, &profiles->by_external_id,
                                      same_external_id };
    struct identifier phone = { &profile->phone, &profiles->by_phone, same_phone };

    adopt(profiles, number, email, import_text(import, row->email), row->email.n);
    adopt(profiles, number, external_id, import_text(import, row->external_id), row->external_id.n);
    adopt(profiles, number, phone, import_text(import, row->phone), row->phone.n);
}

static struct profile_layer *layer_new(const char *text, size_t n, uint64_t shape)
{
    struct profile_layer *layer = memory_raw(sizeof *layer + n);

    *layer = (struct profile_layer){ .shape = shape, .n = (uint32_t)n, .depth = 1 };
    memcpy(layer->text, text, n);
    return layer;
}

static void layers_free(struct profile_layer *layer)
{
    while (layer) {
        struct profile_layer *below = layer->below;

        free(layer);
        layer = below;
    }
}

static struct attributes layer_attributes(const struct profile_layer *layer)
{
    return (struct attributes){ .at = layer->text, .n = layer->n };
}

/* Lays `upper` over what the profile has, as one layer. */
static void merge_over(struct profile *profile, struct attributes upper, enum nulls nulls)
{
    CLEANUP(strbuf_release) struct strbuf merged = STRBUF_INIT(MERGED_MAX);
    struct attributes lower = { .at = "{}", .n = 2 };

    if (profile->top)
        lower = layer_attributes(profile->top);
    attributes_merge(lower, upper, nulls, &merged);
    layers_free(profile->top);
    profile->top = layer_new(merged.data, merged.len, 0);
    profile->top->merged = true;
}

/* Bottom first; depth is at most LAYERS_MAX + 1. */
static void flatten(struct profile *profile)
{
    struct profile_layer *layers[LAYERS_MAX + 1];
    size_t n = 0;

    for (struct profile_layer *layer = profile->top; layer; layer = layer->below)
        layers[n++] = layer;
    profile->top = NULL;
    while (n-- > 0) {
        layers[n]->below = NULL;
        merge_over(profile, layer_attributes(layers[n]), NULLS_IGNORED);
        layers_free(layers[n]);
    }
}

static void add_layer(struct profile *profile, const char *text, size_t n, uint64_t shape)
{
    struct profile_layer *layer = layer_new(text, n, shape);
    struct profile_layer *top = profile->top;

    if (top && shape && top->shape == shape) {
        profile->top = top->below;
        free(top);
    }
    layer->below = profile->top;
    layer->depth = layer->below ? layer->below->depth + 1 : 1;
    profile->top = layer;
    if (layer->depth > LAYERS_MAX)
        flatten(profile);
}

static void take_away(struct profile *profile, struct attributes names)
{
    CLEANUP(strbuf_release) struct strbuf without = STRBUF_INIT(MERGED_MAX);

    attributes_without(names, &without);
    flatten(profile);
    merge_over(profile, (struct attributes){ .at = without.data, .n = without.len }, NULLS_CLEAR);
}

uint32_t profiles_upsert(struct profiles *profiles, const struct import *import,
                         const struct import_row *row, enum nulls nulls, int64_t now_us)
{
    uint32_t number = profiles_by_row(profiles, import, row);

    if (number == PROFILE_NONE)
        number = create(profiles, now_us);
    adopt_all(profiles, number, import, row);

    struct profile *profile = &profiles->list[number];
    const char *text = import->body + row->attributes.at;
    if (nulls == NULLS_CLEAR) {
        flatten(profile);
        merge_over(profile, (struct attributes){ .at = text, .n = row->attributes.n }, nulls);
    } else {
        add_layer(profile, text, row->attributes.n, row->shape);
    }
    if (row->unset.n)
        take_away(profile,
                  (struct attributes){ .at = import->body + row->unset.at, .n = row->unset.n });
    profile->updated_us = now_us;
    return number;
}

struct attributes profiles_attributes(struct profiles *profiles, uint32_t number)
{
    struct profile *profile = &profiles->list[number];

    /* A lone layer without nulls is already what merging would make of it. */
    if (profile->top->below || (profile->top->shape == 0 && !profile->top->merged))
        flatten(profile);
    return layer_attributes(profile->top);
}

void profiles_release(struct profiles *profiles)
{
    for (size_t i = 0; i < profiles->n; i++) {
        free(profiles->list[i].email);
        free(profiles->list[i].external_id);
        free(profiles->list[i].phone);
        layers_free(profiles->list[i].top);
    }
    free(profiles->list);
    index_release(&profiles->by_email);
    index_release(&profiles->by_external_id);
    index_release(&profiles->by_phone);
    *profiles = (struct profiles){ 0 };
}
