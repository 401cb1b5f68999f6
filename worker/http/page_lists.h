#ifndef WORKER_HTTP_PAGE_LISTS_H
#define WORKER_HTTP_PAGE_LISTS_H

#include <jansson.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/overview.h"

/* The snapshot's lists, parsed once for a page. Empty ones where it was never read. */
struct page_lists {
    json_t *runs, *exports, *report;
};

/* ERROR_RETRY: one of them is no JSON. Release in either case. */
bool page_lists_parse(struct page_lists *lists, const struct overview_lists *texts,
                      struct error *err) MUST_USE;
void page_lists_release(struct page_lists *lists);

#endif
