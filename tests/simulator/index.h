#ifndef SIMULATOR_INDEX_H
#define SIMULATOR_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * An index: finds the number of a record by its key.
 *
 * An open-addressing hash table of (hash, number) pairs, 8 bytes a slot, at
 * most three quarters full. It does not hold the keys: the owner of the
 * records is asked whether record `number` has the wanted key. Nothing is ever
 * taken out.
 */
struct index_slot {
    uint32_t hash;
    uint32_t number_plus_one; /* 0: empty */
};

struct index {
    struct index_slot *slots;
    size_t cap;
    size_t used;
};

#define INDEX_NONE UINT32_MAX

typedef bool index_match_fn(const void *owner, uint32_t number, const char *key, size_t n);

uint32_t index_hash(const char *key, size_t n);

/* The number, or INDEX_NONE. */
uint32_t index_find(const struct index *index, uint32_t hash, const char *key, size_t n,
                    index_match_fn *match, const void *owner);

/* The key must not be there yet. */
void index_add(struct index *index, uint32_t hash, uint32_t number);

void index_release(struct index *index);

#endif
