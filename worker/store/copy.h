#ifndef WORKER_STORE_COPY_H
#define WORKER_STORE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/error.h"

/*
 * Rows in PostgreSQL's binary COPY format, one CopyData message at a time (pure).
 *
 * Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
 * The header comes in front of the first row or in a message of its own.
 */
enum copy_read {
    COPY_ROW,    /* fields are filled */
    COPY_NO_ROW, /* a header or the trailer alone */
    COPY_BROKEN, /* not this format, or another number of fields */
};

struct copy_reader {
    bool past_header;
};

/*
 * Reads one message of len bytes, which is lent. There is room for n_fields, which point into
 * the message (BYTES_NONE: null), and are complete for COPY_ROW only.
 */
enum copy_read copy_read(struct copy_reader *reader, const char *message, size_t len,
                         struct bytes *fields, size_t n_fields) MUST_USE;

/* The integer of 2, 4 or 8 bytes in a field; 0 for null. */
int64_t copy_int(const struct bytes *field);

#endif
