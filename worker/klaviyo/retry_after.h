#ifndef WORKER_KLAVIYO_RETRY_AFTER_H
#define WORKER_KLAVIYO_RETRY_AFTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

/*
 * The value of a Retry-After header (RFC 9110, 10.2.3): seconds or an HTTP
 * date. *out_ms: how long to wait from now_us (microseconds since 1970), never
 * negative, at most a day: what asks for more is asked again by then. False: it is
 * neither, and nothing is written.
 */
bool retry_after_parse(const char *text, int64_t now_us, int64_t *out_ms) MUST_USE;

#endif
