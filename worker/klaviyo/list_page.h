#ifndef WORKER_KLAVIYO_LIST_PAGE_H
#define WORKER_KLAVIYO_LIST_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * The lists of an account: GET /api/lists, in pages of at most 10, those that were
 * changed last first. How many profiles one has is asked of that list alone, under
 * a limit of its own. This module makes the requests and reads the answers.
 */

/* Strings live as long as their page. */
struct listed_list {
    const char *id;
    const char *name; /* UTF-8; "": none */
};

struct list_page {
    struct listed_list *lists;
    size_t n;
    const char *next; /* link to the page after; NULL: this was the last */
    struct json_t *document;
};

#define LIST_PAGE_INIT ((struct list_page){ .lists = NULL })

/* next: from the page before, NULL for the first; lent. */
struct request list_page_request(const char *next);

/* ERROR_RETRY: malformed, or out of memory; *out is unchanged then. */
bool list_page_parse(const struct response *response, struct list_page *out, struct error *err)
    MUST_USE;
void list_page_release(struct list_page *page);

/* id as klaviyo_list_id_check() has it, lent. */
struct request list_size_request(const char *id);

/* *profiles: -1 where Klaviyo does not say. ERROR_RETRY: malformed. */
bool list_size_parse(const struct response *response, int64_t *profiles, struct error *err)
    MUST_USE;

#endif
