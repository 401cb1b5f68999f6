#ifndef WORKER_KLAVIYO_LIST_REMOVAL_H
#define WORKER_KLAVIYO_LIST_REMOVAL_H

#include <stddef.h>

#include "common/strbuf.h"
#include "worker/klaviyo/request.h"

/*
 * Taking profiles off a list: DELETE /api/lists/{id}/relationships/profiles with their ids.
 * Profile and consent stay as they are. This module makes the request; it sends nothing.
 */
enum { LIST_REMOVAL_MAX = 1000 }; /* ids of a request: OpenAPI description */

/* The body, in the making. The id is one that profile_lookup.h found. */
void list_removal_begin(struct strbuf *body);
void list_removal_add(struct strbuf *body, const char *profile_id);
void list_removal_end(struct strbuf *body);

/* Both are lent: the body until the response has been handed out. */
struct request list_removal_request(const char *list_id, const struct strbuf *body);

#endif
