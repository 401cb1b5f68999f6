#ifndef WORKER_KLAVIYO_DOCUMENT_H
#define WORKER_KLAVIYO_DOCUMENT_H

#include "common/cleanup.h"
#include "common/error.h"
#include "common/json.h"
#include "worker/klaviyo/response.h"

/*
 * Reading JSON answers; for the parsers of this folder, and document_refuse() for whoever finds
 * that an answer is about something else than was asked.
 *
 * json_object_get() and json_string_value() take NULL and the wrong type and
 * return NULL, so a path down a document needs no check at each step.
 */

/* The body, which must be one JSON object. The caller owns *out. */
bool document_parse(const struct response *response, json_t **out, struct error *err) MUST_USE;

/* A page of a listing, taken apart. */
struct document_page {
    json_t *root;     /* in which the other two live */
    json_t *data;     /* an array */
    size_t n;         /* of its entries */
    const char *next; /* link to the page after; NULL: this was the last */
};

#define DOCUMENT_PAGE_INIT ((struct document_page){ .root = NULL })

/*
 * Refused with `what` where there is no array of entries. The caller releases the page, or
 * takes its root to keep texts of it.
 */
bool document_page_parse(const struct response *response, const char *what,
                         struct document_page *page, struct error *err) MUST_USE;
void document_page_release(struct document_page *page);

/* "the answer to NAME is malformed: what"; ERROR_RETRY. False, always. */
bool document_refuse(const struct response *response, const char *what, struct error *err);

/* A whole number that is not negative; -1 for null, absent and everything else. */
int64_t document_count(const json_t *value);

/* Copies as much as fits and ends at a whole UTF-8 character; NULL counts as empty. */
void document_copy(char *out, size_t size, const char *text);

#endif
