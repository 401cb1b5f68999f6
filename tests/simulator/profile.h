#ifndef SIMULATOR_PROFILE_H
#define SIMULATOR_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "tests/simulator/attributes.h"
#include "tests/simulator/import.h"
#include "tests/simulator/index.h"

/*
 * The profiles of one account, numbered from 0 in the order they came.
 *
 * What an import says about a profile is kept as it was sent, one layer on top
 * of another; they are merged when somebody looks. A layer with the same
 * members as the one below it replaces it at once.
 *
 * An id is a 26-character ULID that holds the creation time, the account's
 * salt and the number, so that finding by id needs no table, and ids sort as
 * the profiles were created.
 */
#define PROFILE_NONE INDEX_NONE

enum { PROFILE_ID_BYTES = 27 };

struct profile_layer;

struct profile {
    char *email; /* normal form; NULL: none */
    char *external_id;
    char *phone;
    struct profile_layer *top;
    int64_t created_us, updated_us;
};

struct profiles {
    struct profile *list;
    size_t cap, n;
    struct index by_email, by_external_id, by_phone;
    uint64_t salt;
};

/* The number, or PROFILE_NONE. email is a normal form. */
uint32_t profiles_by_email(const struct profiles *profiles, const char *email, size_t n) MUST_USE;
uint32_t profiles_by_external_id(const struct profiles *profiles, const char *id, size_t n)
    MUST_USE;
uint32_t profiles_by_id(const struct profiles *profiles, const char *id, size_t n) MUST_USE;

/* Whom the row is about: by id, else e-mail, else external id, else phone; or PROFILE_NONE. */
uint32_t profiles_by_row(const struct profiles *profiles, const struct import *import,
                         const struct import_row *row) MUST_USE;

/* Creates or updates; the number. The row must have an identifier. */
uint32_t profiles_upsert(struct profiles *profiles, const struct import *import,
                         const struct import_row *row, enum nulls nulls, int64_t now_us);

/* out has room for PROFILE_ID_BYTES. */
void profiles_format_id(const struct profiles *profiles, uint32_t number, char *out);

/* All attributes as one object; lent until the profile changes. */
struct attributes profiles_attributes(struct profiles *profiles, uint32_t number);

void profiles_release(struct profiles *profiles);

#endif
