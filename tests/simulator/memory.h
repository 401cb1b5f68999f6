#ifndef SIMULATOR_MEMORY_H
#define SIMULATOR_MEMORY_H

#include <stddef.h>

#include "common/cleanup.h"

/*
 * Memory that is always there.
 *
 * A simulator that runs out of memory has nothing left to imitate: these end
 * the process instead of returning NULL, so that no caller has a path that no
 * test ever walks. Everything is freed with free().
 */

/* n zeroed bytes. */
void *memory_new(size_t n) MUST_USE;

/* n bytes of anything. */
void *memory_raw(size_t n) MUST_USE;

/*
 * Room for at least need elements of size bytes in the array old (NULL at
 * first) that has room for *cap. New elements are zeroed.
 */
void *memory_grow(void *old, size_t *cap, size_t need, size_t size) MUST_USE;

/* A NUL-terminated copy of n bytes. */
char *memory_text(const char *text, size_t n) MUST_USE;

/* A copy of a string; NULL stays NULL. */
char *memory_string(const char *text) MUST_USE;

#endif
