#ifndef WORKER_CLI_KEY_WORD_H
#define WORKER_CLI_KEY_WORD_H

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

/*
 * API keys that were typed in the wrong place. A private key of Klaviyo is
 * "pk_" and 34 letters and digits (seen in 2026); what has 20 of them behind
 * "pk_" is taken for one.
 */
bool key_word_in(const char *text);

/* Adds the text with "pk_…" in the place of each key. True where there was one. */
bool key_word_hide(struct strbuf *out, const char *text, size_t n);

#endif
