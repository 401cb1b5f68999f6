#ifndef COMMON_ARRAY_H
#define COMMON_ARRAY_H

#include <stddef.h>

#include "common/cleanup.h"

/*
 * Arrays on the heap that grow at their end.
 *
 * array_grow() makes room for one item more: items holds n of item_bytes each,
 * with room for *cap; it doubles, from 16. Returns the array, which may have
 * moved; the caller owns it and stores it. NULL: out of memory, and items and
 * *cap are as they were.
 *
 *     struct part *parts = array_grow(all->parts, all->n, &all->cap, sizeof *parts);
 *     if (!parts)
 *         return error_no_memory(err);
 *     all->parts = parts;
 */
void *array_grow(void *items, size_t n, size_t *cap, size_t item_bytes) MUST_USE;

#endif
