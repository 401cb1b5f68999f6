#ifndef WORKER_KLAVIYO_LIST_FLOWS_H
#define WORKER_KLAVIYO_LIST_FLOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * The flows that begin with being added to a list: GET
 * /api/lists/{id}/flow-triggers. A key without the scope flows:read gets the
 * verdict SCOPE_MISSING, which is not an error.
 */

/* id as klaviyo_list_id_check() has it, lent; owns nothing. */
struct request list_flows_request(const char *id);

/* *live: those that are live and not archived. ERROR_RETRY: malformed. */
bool list_flows_parse(const struct response *response, int64_t *live, struct error *err) MUST_USE;

#endif
