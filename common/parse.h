#ifndef COMMON_PARSE_H
#define COMMON_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * Text from outside becomes a number or a time here, or not at all.
 *
 * Each function takes the whole text: trailing characters are a refusal. The
 * output is written only when it returns true.
 */

/* One decimal number from min to max; no blanks, no plus sign. */
bool parse_int64(const char *text, int64_t min, int64_t max, int64_t *out) MUST_USE;

/*
 * RFC 3339 date-time ("2026-11-24T08:00:47.5+01:00"); n bytes, not necessarily
 * NUL-terminated. *out: microseconds since 1970-01-01 UTC. A leap second (:60)
 * counts as the second after.
 */
bool parse_rfc3339(const char *text, size_t n, int64_t *out_us) MUST_USE;

#endif
