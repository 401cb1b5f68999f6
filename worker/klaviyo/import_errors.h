#ifndef WORKER_KLAVIYO_IMPORT_ERRORS_H
#define WORKER_KLAVIYO_IMPORT_ERRORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * The rows that an import job did not import, page by page. Parsing as in import_job.h.
 */

/* One row that was not imported. Strings live as long as their page. */
struct import_error {
    const char *email;  /* as Klaviyo repeats it; NULL: names nobody */
    int64_t row;        /* position in the request, from 0; -1: not said */
    const char *code;   /* "invalid"; never NULL */
    const char *detail; /* Klaviyo's words, may quote an address: not for logs; never NULL */
};

struct import_error_page {
    struct import_error *errors;
    size_t n;
    const char *next;        /* link to the page after; NULL: this was the last */
    struct json_t *document; /* that the strings belong to */
};

#define IMPORT_ERROR_PAGE_INIT ((struct import_error_page){ .errors = NULL })

/* id is lent and not empty; next: from the page before, NULL for the first. */
struct request import_error_request(const char *id, const char *next);

/* Strings of *out live until import_error_page_release(). *out is unchanged on failure. */
bool import_error_page_parse(const struct response *response, struct import_error_page *out,
                             struct error *err) MUST_USE;

/* Frees the page with all its strings. Accepts IMPORT_ERROR_PAGE_INIT. */
void import_error_page_release(struct import_error_page *page);

/*
 * The row that a JSON pointer "/data/attributes/profiles/data/N[/…]" names; -1
 * where it names none.
 */
int64_t import_error_row(const char *pointer);

#endif
