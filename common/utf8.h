#ifndef COMMON_UTF8_H
#define COMMON_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * UTF-8 as RFC 3629 has it: no longer form than needed, no surrogate, nothing
 * above U+10FFFF. A NUL is a character like another.
 */

/* Bytes of the sequence at the beginning of text, n > 0; 0: there is none. *code may be NULL. */
size_t utf8_decode(const char *text, size_t n, uint32_t *code);

/* Writes a code point, which is no surrogate, as 1 to 4 bytes; how many. */
size_t utf8_encode(uint32_t code, char *out);

/* How many characters the n bytes are; -1: they are not UTF-8. */
long utf8_count(const char *text, size_t n);

/* n, or less where the byte at n, which is there, goes on with a character: to cut before it. */
size_t utf8_cut(const char *text, size_t n);

#endif
