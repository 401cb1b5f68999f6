#ifndef WORKER_STORE_BINARY_ARRAY_H
#define WORKER_STORE_BINARY_ARRAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * Arrays of one dimension in PostgreSQL's binary form, as parameters (pure). For thousands
 * of elements: neither side writes or reads digits and escapes, as for the literals of
 * statement.h.
 *
 * Format: array_recv() in PostgreSQL's src/backend/utils/adt/arrayfuncs.c.
 */
enum array_element { /* the types' numbers in pg_type.dat */
                     ARRAY_OF_BOOL = 16,
                     ARRAY_OF_INT8 = 20,
                     ARRAY_OF_TEXT = 25,
};

struct binary_array {
    struct strbuf bytes;
    uint32_t n;
};

/*
 * Adding never fails by itself: binary_array_close() reports memory that was missing.
 * clear and release accept what init made.
 */
void binary_array_init(struct binary_array *array, enum array_element element);
void binary_array_release(struct binary_array *array);
void binary_array_clear(struct binary_array *array); /* keeps the memory */

/* The next element; its kind is that of init. text NULL: null. */
void binary_array_text(struct binary_array *array, const char *text, size_t len);
void binary_array_int64(struct binary_array *array, int64_t number);
void binary_array_bool(struct binary_array *array, bool value);

/* Writes the number of elements. False: memory was missing. More may be added later. */
bool binary_array_close(struct binary_array *array) MUST_USE;

#endif
