#ifndef WORKER_EXPORT_ADDRESS_H
#define WORKER_EXPORT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * E-mail addresses: which ones are sent (pure).
 *
 * Well formed is: ASCII, exactly one "@", a local part of 1 to 64 characters of
 * dot-atom text (RFC 5322, 3.2.3; no quoted local parts), a domain of two or
 * more labels (RFC 1035, 2.3.1) whose last has two or more letters or starts
 * with "xn--"; 254 characters at most in all (RFC 5321, 4.5.3.1 with its path
 * brackets taken off). Klaviyo's own grammar is not published; it refuses a
 * last label of one letter.
 *
 * The address comes trimmed and in lower case.
 */
enum { ADDRESS_MAX = 254, ADDRESS_LOCAL_MAX = 64 };

enum address_fault {
    ADDRESS_FINE,
    ADDRESS_MISSING,
    ADDRESS_NOT_ASCII,
    ADDRESS_TOO_LONG,
    ADDRESS_MALFORMED,
};

/*
 * An address as Klaviyo or a person writes it, in the form above: trimmed, in lower case. out
 * has room for ADDRESS_MAX bytes, without a NUL. False: it is longer.
 */
bool address_normalise(const char *written, char *out, size_t *len);

/* normal: in that form, NUL-terminated. */
bool address_is_same(const char *written, const char *normal);

/* len bytes, not necessarily NUL-terminated; NULL or 0 bytes: MISSING. */
enum address_fault address_check(const char *address, size_t len);

/*
 * As address_check() of its lower-case form. True: so is the trimmed one, as nothing that is
 * trimmed occurs in it. NULL: false.
 */
bool address_is_fine_as_written(const char *written, size_t len);

#endif
