#ifndef COMMON_SECRET_SOURCE_H
#define COMMON_SECRET_SOURCE_H

#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"

/*
 * Where a secret is: a text, or a file that is read again each time the secret
 * is needed, so that one that is rotated needs no restart.
 *
 * Plain data, borrowed; it may be read by any number of threads.
 */
struct secret_source {
    const char *text; /* where there is no file; may be empty */
    const char *file; /* NULL or empty: none */
};

/*
 * Reads it, without blanks at either end. At most max bytes. An empty text gives
 * an empty secret; an empty file is an error (ERROR_INPUT), as is one that cannot
 * be read.
 */
bool secret_source_read(const struct secret_source *source, size_t max, struct secret *secret,
                        struct error *err) MUST_USE;

#endif
