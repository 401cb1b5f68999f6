#include "common/array.h"

#include <stdlib.h>

enum { ITEMS_AT_FIRST = 16 };

void *array_grow(void *items, size_t n, size_t *cap, size_t item_bytes)
{
    if (n < *cap)
        return items;

    size_t wanted = *cap > 0 ? *cap * 2 : ITEMS_AT_FIRST;
    void *larger = wanted > *cap ? reallocarray(items, wanted, item_bytes) : NULL;
    if (larger)
        *cap = wanted;
    return larger;
}
