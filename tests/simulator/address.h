#ifndef SIMULATOR_ADDRESS_H
#define SIMULATOR_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * E-mail addresses.
 *
 * Two addresses are one if they are equal after white space around them is
 * taken off and ASCII letters are made small. What counts as well formed is a
 * guess (the receiver publishes no grammar): an RFC 5322 dot-atom, an at sign,
 * and at least two labels of letters, digits and inner hyphens of which the
 * last is two letters or more.
 */

/* Appends the normal form. */
void address_normalise(const char *text, size_t n, struct strbuf *out);

/* text is a normal form. */
bool address_is_valid(const char *text, size_t n) MUST_USE;

#endif
