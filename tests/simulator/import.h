#ifndef SIMULATOR_IMPORT_H
#define SIMULATOR_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "tests/simulator/behaviour.h"
#include "tests/simulator/problem.h"

/*
 * A bulk import as it was received: its rows, the list it names, and what is
 * wrong with it. Made in one pass over the body, without any lock: it looks at
 * nothing but the body. Rows point into the body and into `text`; whoever
 * keeps the import keeps the body with it.
 */
enum {
    IMPORT_ROWS_MAX = 10000,
    IMPORT_BYTES_MAX = 5000000,
    IMPORT_ROW_BYTES_MAX = 100000,
    IMPORT_LISTS_MAX = 8,
};

/* A stretch of a buffer. n = 0: not there. */
struct span {
    uint32_t at, n;
};

struct import_row {
    struct span attributes; /* in the body: the object, braces included */
    struct span unset; /* in the body: names of properties to take away, a string or an array */
    struct span email; /* in text: normal form */
    struct span external_id; /* in text */
    struct span phone;       /* in text */
    struct span id;          /* in text */
    uint32_t bytes;          /* of the whole resource object */
    uint32_t email_hash;     /* index_hash() of the e-mail */
    uint64_t shape;          /* hash of all member names; 0: there are nulls */
};

struct import {
    const char *body;
    struct strbuf text; /* decoded identifiers and list ids, each with a NUL behind it */
    struct import_row *rows;
    size_t rows_cap, n;
    struct span lists[IMPORT_LISTS_MAX];
    size_t n_lists;
    struct problems problems; /* the request is refused if there is one */
    struct problems failures; /* rows that fail only in the job */
};

/* body (n bytes) is lent until import_release(). */
void import_parse(struct import *import, const char *body, size_t n,
                  const struct behaviour *behaviour);

/*
 * The same for one profile object under /data, as the one-profile endpoint
 * takes it; on success import->n is 1.
 */
void import_parse_one(struct import *import, const char *body, size_t n,
                      const struct behaviour *behaviour);

static inline const char *import_text(const struct import *import, struct span span)
{
    return span.n ? import->text.data + span.at : "";
}

void import_release(struct import *import);

#endif
