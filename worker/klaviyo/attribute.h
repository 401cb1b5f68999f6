#ifndef WORKER_KLAVIYO_ATTRIBUTE_H
#define WORKER_KLAVIYO_ATTRIBUTE_H

#include <stddef.h>

/*
 * The attributes of a profile that an export may fill, "location.city" for a
 * nested one (pure). Of the schema ProfileUpsertQueryResourceObject, OpenAPI
 * revision 2026-07-15; the address is no field, and _kx, id and subscriptions
 * are not for exports to set.
 */
enum attribute_kind {
    ATTRIBUTE_UNKNOWN,
    ATTRIBUTE_TEXT,   /* a string */
    ATTRIBUTE_NUMBER, /* a number or a string: latitude, longitude */
};

struct attribute {
    const char *name;
    enum attribute_kind kind;
};

extern const struct attribute attributes[]; /* ends with a name of NULL; phone_number is the last */

/* UNKNOWN for every name that is not in the table. name: NUL-terminated. */
enum attribute_kind attribute_kind(const char *name);

#endif
