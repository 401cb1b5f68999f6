#ifndef COMMON_VISIBLE_TEXT_H
#define COMMON_VISIBLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

/*
 * Text from outside, made fit for a line of a terminal or a log.
 *
 * A name can hold what steers a terminal (C0 and C1 controls), ends a line
 * (U+2028, U+2029) or turns the direction of what follows (bidirectional
 * marks). Each of them is shown as the \uXXXX of JSON; bytes that are no UTF-8
 * become U+FFFD. What remains is valid UTF-8, and inside of a JSON string it
 * means the same as before.
 */
bool code_point_is_unsafe(uint32_t code);

enum visible_text_mode {
    VISIBLE_LINE,  /* one line: line ends are shown, too */
    VISIBLE_LINES, /* line ends stay */
    VISIBLE_JSON,  /* the inside of a JSON string: quotes and backslashes are escaped, too */
};

/*
 * Appends the n bytes of text, at most max bytes of them as shown; a code point
 * is never torn. False: some did not fit, and were left out.
 */
bool visible_text_add(struct strbuf *out, enum visible_text_mode mode, const char *text, size_t n,
                      size_t max);

/* How many bytes that is without a limit; never fails. */
size_t visible_text_bytes(enum visible_text_mode mode, const char *text, size_t n);

#endif
