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

/*
 * base_url has passed base_url_check(). *out is the caller's, to be freed by free().
 * ERROR_INPUT: the id is "." or "..". ERROR_RETRY: request->link leads elsewhere
 * or holds what is not ASCII, or memory is out.
 */
bool url_make(const char *base_url, const struct request *request, char **out, struct error *err)
    MUST_USE;

#endif
