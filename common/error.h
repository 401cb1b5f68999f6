#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

#include <stdbool.h>

#include "common/cleanup.h"

/*
 * Errors.
 *
 * A function that can fail returns bool and takes `struct error *err` last.
 * True: the work is done, err is untouched. False: err says why, and no
 * output parameter was written.
 *
 * The kind is a decision, not a description. It says what the caller's caller
 * should do, so that no one ever parses the text to find out. An outcome that
 * the caller is expected to handle (a full batch, an empty poll) is not an
 * error: it is an enum result of that one function.
 *
 * The text says what failed, why, and what to do about it. It never holds an
 * API key, an e-mail address or an attribute value.
 */
enum error_kind {
    ERROR_NONE,
    ERROR_RETRY, /* a peer or resource is not ready: the same call may succeed later */
    ERROR_INPUT, /* this input can never succeed as it is: refuse it, set it aside */
    ERROR_LOST,  /* the run is no longer ours: relinquish it, write nothing more */
    ERROR_FATAL, /* this process cannot do its job: stop, exit non-zero */
};

/*
 * Fixed size, so that reporting an error can never itself run out of memory.
 * 1,536 bytes: a receiver's words are cut at 1 KiB, and the rest is ours.
 */
struct error {
    enum error_kind kind;
    char text[1536];
};

#define ERROR_INIT ((struct error){ .kind = ERROR_NONE })

/* Both return false, so that `return error_set(...)` is the whole error path. */
bool error_set(struct error *err, enum error_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "context: " before the text and keeps the kind. */
bool error_wrap(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "out of memory", ERROR_RETRY. False, always. */
bool error_no_memory(struct error *err);

/* "reading FILE: No such file or directory", from errno. Short of memory or descriptors: RETRY. */
bool error_errno(struct error *err, enum error_kind kind, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
