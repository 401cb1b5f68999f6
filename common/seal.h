#ifndef COMMON_SEAL_H
#define COMMON_SEAL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret.h"

/*
 * Sealing: anybody with the public half closes a secret, only the holder of the
 * private half opens it (libsodium sealed boxes, X25519 and XSalsa20-Poly1305).
 *
 * The private half lives in a file; its text is the base64 of 32 bytes.
 */
enum {
    SEAL_KEY_BYTES = 32,   /* crypto_box_PUBLICKEYBYTES and _SECRETKEYBYTES */
    SEAL_EXTRA_BYTES = 48, /* crypto_box_SEALBYTES: how much longer a sealed text is */
};

struct seal_pair {
    unsigned char public_key[SEAL_KEY_BYTES];
    struct secret private_key; /* SEAL_KEY_BYTES */
};

#define SEAL_PAIR_INIT ((struct seal_pair){ .private_key = { .bytes = NULL } })

/*
 * A new pair, the caller's (seal_pair_release()). ERROR_RETRY where no locked
 * memory is left; *pair is unchanged then.
 */
bool seal_pair_generate(struct seal_pair *pair, struct error *err) MUST_USE;

/*
 * Writes the private half to a new file with mode 0600, never over an existing
 * one, and returns once it is on the disk. After a failure there is no file.
 */
bool seal_pair_save(const struct seal_pair *pair, const char *path, struct error *err) MUST_USE;

/*
 * Reads the private half from a file and derives the public one. ERROR_INPUT:
 * no such file, or no key in it; the text never quotes it. *pair is unchanged
 * on failure.
 */
bool seal_pair_load(struct seal_pair *pair, const char *path, struct error *err) MUST_USE;

/* Wipes the private half. Accepts SEAL_PAIR_INIT. */
void seal_pair_release(struct seal_pair *pair);

/* "1.0.18", of the library in use. */
const char *seal_library_version(void);

/*
 * sealed: room for secret->len + SEAL_EXTRA_BYTES. ERROR_INPUT: the public key is not one; what
 * stands in sealed then is nothing to be kept.
 */
bool seal_close(const unsigned char *public_key, const struct secret *secret, unsigned char *sealed,
                struct error *err) MUST_USE;

/* ERROR_INPUT where the pair is not the one that sealed, or the bytes are damaged. */
bool seal_open(const struct seal_pair *pair, const unsigned char *sealed, size_t len,
               struct secret *out, struct error *err) MUST_USE;

#endif
