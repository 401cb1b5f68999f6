#ifndef WORKER_KLAVIYO_REFUSAL_H
#define WORKER_KLAVIYO_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/verdict.h"

/*
 * The refusal: what the errors in a response say, for the verdict.
 */
struct refusal {
    bool is_json;         /* Klaviyo spoke; false: a gateway in front of it did */
    bool names_only_rows; /* there are errors, and each points at a row of the request */
};

/*
 * Fills rows, text, code, detail and, where the body is not JSON, why of the
 * verdict, which stays the caller's to release, also on failure (ERROR_RETRY:
 * out of memory).
 */
bool refusal_read(const struct response *response, size_t request_rows, struct verdict *verdict,
                  struct refusal *out, struct error *err) MUST_USE;

#endif
