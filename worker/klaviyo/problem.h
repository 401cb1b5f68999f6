#ifndef WORKER_KLAVIYO_PROBLEM_H
#define WORKER_KLAVIYO_PROBLEM_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "worker/klaviyo/response.h"

/*
 * The errors of a JSON:API response, one at a time.
 *
 * A response can hold an error for each of 10,000 rows. As one tree that is some
 * 60 MB, so each error is decoded alone and forgotten before the next.
 */
struct problem {
    const char *code;    /* NULL: none. Strings live until the call returns. */
    const char *detail;  /* NULL: none */
    const char *pointer; /* NULL: none */
};

/*
 * Calls note for each member of `errors`. False: the body is not one whole JSON
 * object (what has been noted is void), or note said false.
 */
bool problem_each(const struct response *response,
                  bool (*note)(void *to, const struct problem *problem), void *to) MUST_USE;

#endif
