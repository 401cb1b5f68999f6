#include "tests/simulator/attributes.h"

#include <stdlib.h>
#include <string.h>

#include "tests/simulator/memory.h"
#include "tests/simulator/scan.h"

struct member {
    struct scan_text name;
    struct attributes value;
};

struct members {
    struct member *list;
    size_t cap, n;
};

static void members_release(struct members *members)
{
    free(members->list);
}

static bool same_name(const struct scan_text *a, const struct scan_text *b)
{
    if (!a->escaped && !b->escaped)
        return a->n == b->n && memcmp(a->at, b->at, a->n) == 0;

    CLEANUP(strbuf_release) struct strbuf left = STRBUF_INIT(a->n);
    CLEANUP(strbuf_release) struct strbuf right = STRBUF_INIT(b->n);
    scan_text_decode(a, &left);
    scan_text_decode(b, &right);
    return left.len == right.len && (left.len == 0 || memcmp(left.data, right.data, left.len) == 0);
}

static struct member *member_named(const struct members *members, const struct scan_text *name)
{
    for (size_t i = 0; i < members->n; i++)
        if (same_name(&members->list[i].name, name))
            return &members->list[i];
    return NULL;
}

static void members_set(struct members *members, struct member member)
{
    struct member *known = member_named(members, &member.name);

    if (known) {
        known->value = member.value;
        return;
    }
    members->list =
        memory_grow(members->list, &members->cap, members->n + 1, sizeof *members->list);
    members->list[members->n++] = member;
}

static void members_drop(struct members *members, const struct scan_text *name)
{
    struct member *known = member_named(members, name);

    if (!known)
        return;
    size_t behind = (size_t)(members->list + members->n - known) - 1;
    memmove(known, known + 1, behind * sizeof *known);
    members->n--;
}

static bool is_null(struct attributes value)
{
    return value.n > 0 && value.at[0] == 'n';
}

static bool is_object(struct attributes value)
{
    return value.n > 0 && value.at[0] == '{';
}

/* Reads the members of an object; in a value that is none there are none. */
static void members_read(struct members *members, struct attributes object)
{
    struct scan scan;
    struct member member;

    scan_init(&scan, object.at, object.n);
    if (!is_object(object) || !scan_open(&scan, SCAN_OBJECT))
        return;
    while (scan_member(&scan, &member.name)) {
        (void)scan_peek(&scan);
        member.value.at = scan.at;
        scan_skip(&scan);
        member.value.n = (size_t)(scan.at - member.value.at);
        members_set(members, member);
    }
}

static void add_member(struct strbuf *out, bool first, const struct scan_text *name)
{
    strbuf_add_str(out, first ? "\"" : ",\"");
    strbuf_add(out, name->at, name->n);
    strbuf_add_str(out, "\":");
}

static void lay_over(struct members *below, const struct members *above, enum nulls nulls)
{
    for (size_t i = 0; i < above->n; i++) {
        if (!is_null(above->list[i].value))
            members_set(below, above->list[i]);
        else if (nulls == NULLS_CLEAR)
            members_drop(below, &above->list[i].name);
    }
}

static void add_members(struct strbuf *out, const struct members *members)
{
    strbuf_add_str(out, "{");
    for (size_t i = 0; i < members->n; i++) {
        add_member(out, i == 0, &members->list[i].name);
        strbuf_add(out, members->list[i].value.at, members->list[i].value.n);
    }
    strbuf_add_str(out, "}");
}

static void merge_flat(struct attributes lower, struct attributes upper, enum nulls nulls,
                       struct strbuf *out)
{
    CLEANUP(members_release) struct members below = { 0 };
    CLEANUP(members_release) struct members above = { 0 };

    members_read(&below, lower);
    members_read(&above, upper);
    lay_over(&below, &above, nulls);
    add_members(out, &below);
}

/* What `below` holds under that name if both are objects; else nothing to merge with. */
static struct attributes object_below(const struct members *below, const struct member *above)
{
    const struct member *known = member_named(below, &above->name);

    return known && is_object(known->value) ? known->value
                                            : (struct attributes){ .at = "{}", .n = 2 };
}

/* Replaces the member's value by its merge with what is below; the text is kept in `room`. */
static void merge_inside(const struct members *below, struct members *above, const char *name,
                         enum nulls nulls, struct strbuf *room)
{
    struct scan_text wanted = { .at = name, .n = strlen(name) };
    struct member *member = member_named(above, &wanted);

    if (!member || !is_object(member->value))
        return;
    merge_flat(object_below(below, member), member->value, nulls, room);
    member->value = (struct attributes){ .at = room->data, .n = room->len };
}

void attributes_merge(struct attributes lower, struct attributes upper, enum nulls nulls,
                      struct strbuf *out)
{
    CLEANUP(members_release) struct members below = { 0 };
    CLEANUP(members_release) struct members above = { 0 };
    CLEANUP(strbuf_release) struct strbuf properties = STRBUF_INIT(out->max);
    CLEANUP(strbuf_release) struct strbuf location = STRBUF_INIT(out->max);

    members_read(&below, lower);
    members_read(&above, upper);
    merge_inside(&below, &above, "properties", nulls, &properties);
    merge_inside(&below, &above, "location", nulls, &location);
    lay_over(&below, &above, nulls);
    add_members(out, &below);
}

void attributes_without(struct attributes names, struct strbuf *out)
{
    struct scan scan;
    struct scan_text name;
    bool first = true;

    strbuf_add_str(out, "{\"properties\":{");
    scan_init(&scan, names.at, names.n);
    bool many = scan_peek(&scan) == SCAN_ARRAY && scan_open(&scan, SCAN_ARRAY);
    while ((!many || scan_element(&scan)) && scan_string(&scan, &name)) {
        add_member(out, first, &name);
        strbuf_add_str(out, "null");
        first = false;
    }
    strbuf_add_str(out, "}}");
}

bool attributes_find(struct attributes object, const char *name, struct attributes *value)
{
    struct scan scan;
    struct scan_text member;
    bool found = false;

    scan_init(&scan, object.at, object.n);
    if (!is_object(object) || !scan_open(&scan, SCAN_OBJECT))
        return false;
    while (scan_member(&scan, &member)) {
        (void)scan_peek(&scan);
        const char *from = scan.at;

        scan_skip(&scan);
        if (!scan_text_is(&member, name))
            continue;
        *value = (struct attributes){ .at = from, .n = (size_t)(scan.at - from) };
        found = true;
    }
    return found;
}
