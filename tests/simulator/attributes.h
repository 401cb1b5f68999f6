#ifndef SIMULATOR_ATTRIBUTES_H
#define SIMULATOR_ATTRIBUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * The attributes of a profile as one JSON object, kept as the text it came in.
 *
 * Values are never converted: what is stored and given back is what was sent,
 * byte for byte. The members `properties` and `location` are merged one level
 * deep; every other member is replaced. A text given here has been validated.
 */
struct attributes {
    const char *at;
    size_t n;
};

enum nulls {
    NULLS_IGNORED, /* a null leaves the member as it is (bulk import) */
    NULLS_CLEAR,   /* a null takes the member away (profile import) */
};

/* Appends the object that results from laying `upper` over `lower`. */
void attributes_merge(struct attributes lower, struct attributes upper, enum nulls nulls,
                      struct strbuf *out);

/*
 * Appends what attributes_merge() needs to take properties away: names is a JSON string or an
 * array of such.
 */
void attributes_without(struct attributes names, struct strbuf *out);

/* The value of a member as it stands in the text; the last one if there are several. */
bool attributes_find(struct attributes object, const char *name, struct attributes *value) MUST_USE;

#endif
