#ifndef WORKER_EXPORT_MAPPING_H
#define WORKER_EXPORT_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/store/copy.h"
#include "worker/store/runs.h"

/*
 * The mapping: how a member becomes the profile object that is sent.
 *
 *     {"type":"profile","attributes":{"email":"…","first_name":…,
 *      "location":{"city":…},"properties":{"tier":…}}}
 *
 * Values arrive as JSON texts and are joined, not parsed, so their types
 * survive; only where Klaviyo takes nothing but text do numbers and booleans
 * become the same characters in quotes. Absent and null values are left out:
 * Klaviyo ignores a null. So are objects and arrays where it wants text, and
 * attributes that it does not have: no command stores such a field. The order
 * of members is fixed, so that the same values give the same bytes.
 *
 * A property that had a value once and has none now is unset by name:
 *
 *     {…,"attributes":{…},"meta":{"patch_properties":{"unset":["tier"]}}}
 *
 * Bulk import has no such way for a standard attribute (klaviyo.com, "Bulk
 * Import Profiles API": nulls are ignored): it keeps its last value in Klaviyo.
 * Which fields ever had a value is a set of 64 bits for each address. A field's
 * bit comes from its name, so that it outlives a change of the mapping; two
 * fields may share one; then one more than necessary is unset, or counted.
 */
struct mapping;

/* fields are lent for this call. NULL when out of memory. */
struct mapping *mapping_new(const struct export_field *fields, size_t n_fields) MUST_USE;
void mapping_free(struct mapping *mapping);
DEFINE_OWNER(mapping)

/*
 * Appends the object. values: one JSON text per field, in the order of fields.
 * address: as address_check() found it fine, so nothing in it needs escaping.
 */
void mapping_add(struct mapping *mapping, struct strbuf *out, const char *address,
                 size_t address_len, const struct bytes *values);

/*
 * Values of at most that many bytes in all surely make an object of at most object_bytes, with
 * all that may have to be unset: of a string its characters are counted, without quotes and
 * escapes, of anything else its JSON text. Negative: not even an object without values.
 */
int64_t mapping_room_for_values(const struct mapping *mapping, int64_t object_bytes);

/* The fields that have a value, as a set. */
uint64_t mapping_filled(const struct mapping *mapping, const struct bytes *values);

/* The set of all custom properties. */
uint64_t mapping_properties(const struct mapping *mapping);

/* Unsets what is in `before` and has no value; out ends with an object of mapping_add(). */
void mapping_add_unset(const struct mapping *mapping, struct strbuf *out, uint64_t before,
                       const struct bytes *values);

/* A standard attribute is in `before` and has no value: Klaviyo keeps the old one. */
bool mapping_cannot_clear(const struct mapping *mapping, uint64_t before,
                          const struct bytes *values);

/* What the objects made so far had of a field, by its place among the fields. */
struct mapping_count {
    int64_t with_value; /* neither absent nor null */
    int64_t no_text;    /* of these, objects and arrays (booleans for a number): left out */
};

/* field: its place in the order of fields, from 0. */
struct mapping_count mapping_count(const struct mapping *mapping, size_t field);

/* The address in an object that mapping_add() made; into the object. */
const char *mapping_address(const char *object, size_t len, size_t *address_len);

#endif
