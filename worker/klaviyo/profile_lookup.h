#ifndef WORKER_KLAVIYO_PROFILE_LOOKUP_H
#define WORKER_KLAVIYO_PROFILE_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * Looking profiles up by their addresses: GET /api/profiles with a filter. What Klaviyo does not
 * know is left out of its answer, which comes in pages. This module makes the requests and
 * reads the answers; it sends nothing.
 */
enum {
    PROFILE_LOOKUP_MAX = 100,        /* addresses of a request: contract */
    PROFILE_LOOKUP_MAX_BYTES = 5000, /* of its filter; chosen: escaped it stays far below 16 KiB */
    PROFILE_ID_BYTES = 129,          /* seen: 26 characters; opaque */
};

/*
 * The filter `any(email,["a@x.example",…])`, in the making. add: false where it is full. The
 * address is well formed (address_check), so that nothing in it needs escaping.
 */
void profile_lookup_begin(struct strbuf *filter);
bool profile_lookup_add(struct strbuf *filter, const char *address) MUST_USE;
void profile_lookup_end(struct strbuf *filter);

/* filter and next are lent; next: from the page before, NULL for the first. */
struct request profile_lookup_request(const char *filter, const char *next);

/* Strings live as long as their page. */
struct found_profile {
    const char *id;    /* fit for a request: letters, digits, - and _ */
    const char *email; /* as Klaviyo has it; "": none */
};

struct profile_page {
    struct found_profile *profiles;
    size_t n;
    const char *next; /* link to the page after; NULL: this was the last */
    struct json_t *document;
};

#define PROFILE_PAGE_INIT ((struct profile_page){ .profiles = NULL })

/* ERROR_RETRY: malformed, or out of memory; *out is unchanged then. */
bool profile_page_parse(const struct response *response, struct profile_page *out,
                        struct error *err) MUST_USE;
void profile_page_release(struct profile_page *page);

#endif
