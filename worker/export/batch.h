#ifndef WORKER_EXPORT_BATCH_H
#define WORKER_EXPORT_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * A batch in the making: the profile objects of one request, joined (pure).
 *
 * One object per line: each but the first after ",\n". An object holds no
 * line feed (JSON texts of PostgreSQL have none), so that a body is taken apart
 * again without being parsed: see rows.h.
 */
struct batch_limits {
    size_t rows;
    size_t bytes; /* of the objects with what joins them */
};

struct batch {
    struct batch_limits limits;
    struct strbuf body;
    size_t rows;
};

enum batch_add { BATCH_ADDED, BATCH_FULL /* put it into the next one */, BATCH_NO_MEMORY };

/* limits are copied. release frees the memory; both leave an empty batch. */
void batch_init(struct batch *batch, const struct batch_limits *limits);
void batch_release(struct batch *batch);
void batch_clear(struct batch *batch); /* keeps the memory */

/* An object that fits no batch at all is a mistake of the caller. */
enum batch_add batch_add(struct batch *batch, const char *object, size_t len) MUST_USE;

#endif
