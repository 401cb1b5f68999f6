#ifndef WORKER_KLAVIYO_HEADER_H
#define WORKER_KLAVIYO_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

/*
 * The last check before a request's head. Whatever a header's value was checked for where
 * it came in: here, where it is put behind its name, only visible ASCII and blanks pass.
 * A line end would begin another header, an empty line a whole request, both behind our
 * API key.
 */
bool header_value_is_safe(const char *value);

/* "name: value" into size bytes. False: the value is not safe, or it does not fit; out is "". */
bool header_format(char *out, size_t size, const char *name, const char *value) MUST_USE;

#endif
