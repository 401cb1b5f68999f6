#ifndef SIMULATOR_PAGE_H
#define SIMULATOR_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "tests/simulator/answer.h"
#include "tests/simulator/request.h"

/*
 * Paging: page[size] and page[cursor] come in, links go out. A cursor is
 * opaque text that holds the two numbers by which the last row of a page was
 * sorted: the next page begins with the first row behind that place.
 */
struct page {
    size_t size;
    bool begun; /* there is a cursor: rows up to (key, number) were seen */
    int64_t key, number;
};

struct page_limits {
    size_t fallback, max;
};

/* False: the answer is a 400 that says which parameter is bad. */
bool page_parse(struct page *page, const struct request *request, struct page_limits limits,
                struct answer *answer) MUST_USE;

/* Whether a row lies behind the cursor, rows being in order of (key, number). */
bool page_is_ahead(const struct page *page, int64_t key, int64_t number);

/*
 * Appends "links":{self, next, prev}. self is the request's URL as sent; next
 * is the same with a cursor behind (key, number), or null if !more.
 */
void page_add_links(struct strbuf *out, const struct request *request, bool more, int64_t key,
                    int64_t number);

/* Appends "links":{self} alone. */
void page_add_self(struct strbuf *out, const struct request *request);

/* "http://HOST", as the client called us. */
void page_add_base(struct strbuf *out, const struct request *request);

/* cursor (room for PAGE_CURSOR_BYTES) and back. */
enum { PAGE_CURSOR_BYTES = 96 };
void page_cursor_format(char *cursor, int64_t key, int64_t number);
bool page_cursor_parse(const char *cursor, int64_t *key, int64_t *number) MUST_USE;

#endif
