#include "tests/simulator/index.h"

#include <stdlib.h>

#include "tests/simulator/memory.h"

enum { FIRST_CAP = 64 };

/* FNV-1a, folded: keys are short, and nobody attacks a simulator. */
uint32_t index_hash(const char *key, size_t n)
{
    uint64_t hash = 14695981039346656037U;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)key[i]) * 1099511628211U;
    return (uint32_t)(hash ^ (hash >> 32));
}

uint32_t index_find(const struct index *index, uint32_t hash, const char *key, size_t n,
                    index_match_fn *match, const void *owner)
{
    if (index->cap == 0)
        return INDEX_NONE;

    size_t mask = index->cap - 1;
    for (size_t i = hash & mask; index->slots[i].number_plus_one; i = (i + 1) & mask) {
        uint32_t number = index->slots[i].number_plus_one - 1;

        if (index->slots[i].hash == hash && match(owner, number, key, n))
            return number;
    }
    return INDEX_NONE;
}

static void put(struct index *index, struct index_slot slot)
{
    size_t mask = index->cap - 1;
    size_t i = slot.hash & mask;

    while (index->slots[i].number_plus_one)
        i = (i + 1) & mask;
    index->slots[i] = slot;
}

static void grow(struct index *index)
{
    struct index old = *index;

    index->cap = old.cap ? old.cap * 2 : FIRST_CAP;
    index->slots = memory_new(index->cap * sizeof *index->slots);
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].number_plus_one)
            put(index, old.slots[i]);
    free(old.slots);
}

void index_add(struct index *index, uint32_t hash, uint32_t number)
{
    if (index->used >= index->cap - index->cap / 4)
        grow(index);
    put(index, (struct index_slot){ .hash = hash, .number_plus_one = number + 1 });
    index->used++;
}

void index_release(struct index *index)
{
    free(index->slots);
    *index = (struct index){ 0 };
}
