#ifndef COMMON_SECRET_H
#define COMMON_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * A secret: bytes that must not outlive their use.
 *
 * They lie in guarded, locked memory (libsodium), are wiped when released, and
 * are never part of an error's text. bytes[len] is always NUL, so that a key
 * can be handed to a library as a string.
 */
struct secret {
    char *bytes; /* NULL: empty */
    size_t len;
};

#define SECRET_INIT ((struct secret){ .bytes = NULL })

/* Before the first use of any secret_ function; false if the system has no randomness. */
bool secret_library_init(struct error *err) MUST_USE;

/* An empty secret with room for len bytes, for the caller to fill. */
bool secret_allocate(struct secret *secret, size_t len, struct error *err) MUST_USE;

/*
 * The whole file ("-": standard input), without white space at its end.
 * Refuses an empty file and one of more than max bytes.
 */
bool secret_read_file(struct secret *secret, const char *path, size_t max, struct error *err)
    MUST_USE;

/* True where every user of the host may read the file; false for "-" and for what is not there. */
bool secret_file_exposed(const char *path);

/*
 * Tells secrets apart without revealing them: 64 bits of a keyed hash, in
 * hexadecimal. Only for secrets that are random themselves, such as API keys.
 */
enum { SECRET_FINGERPRINT_BYTES = 17 };
void secret_fingerprint(const struct secret *secret, char out[SECRET_FINGERPRINT_BYTES]);

/* Accepts an empty secret; wipes. */
void secret_release(struct secret *secret);

#endif
