#ifndef WORKER_KLAVIYO_URL_H
#define WORKER_KLAVIYO_URL_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"

/*
 * Where a request goes. The path comes from the endpoint and nowhere else; ids
 * and parameters are escaped, so that a `+` arrives as one.
 */

/* ERROR_INPUT: not a URL, with more in it than a place, or http:// to a host that is not loopback.
 */
bool url_check_base(const char *base_url, bool allow_http, struct error *err) MUST_USE;

/*
 * base_url has passed the check. *out is the caller's, to be freed by free().
 * ERROR_RETRY: request->link leads elsewhere, or memory is out.
 */
bool url_make(const char *base_url, const struct request *request, char **out, struct error *err)
    MUST_USE;

#endif
