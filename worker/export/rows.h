#ifndef WORKER_EXPORT_ROWS_H
#define WORKER_EXPORT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"

/*
 * The rows of a body: where each profile object lies and whose it is (pure).
 * Rows are sorted by address, as they were planned.
 */
struct row {
    const char *object; /* into the body */
    size_t len;
    const char *address; /* into the object */
    size_t address_len;
};

struct rows {
    struct row *row;
    size_t n;
};

#define ROWS_INIT ((struct rows){ .row = NULL })

/* The body is lent until rows_release(). ERROR_FATAL: no batch made it. */
bool rows_parse(struct rows *rows, const char *body, size_t len, struct error *err) MUST_USE;
void rows_release(struct rows *rows);

/* The row with that address, in any case and with blanks around it; -1: none. */
int64_t rows_find(const struct rows *rows, const char *address);

#endif
