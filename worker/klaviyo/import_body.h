#ifndef WORKER_KLAVIYO_IMPORT_BODY_H
#define WORKER_KLAVIYO_IMPORT_BODY_H

#include <stddef.h>

#include "common/strbuf.h"
#include "worker/klaviyo/request.h"

/*
 * The body of a bulk import: a frame around profile objects. Joined from pieces,
 * never built as a document. Pure.
 *
 * Klaviyo's limits: OpenAPI description, "Bulk Import Profiles"; MB and KB read
 * as powers of ten.
 */
enum {
    IMPORT_BODY_MAX_ROWS = 10000,
    IMPORT_BODY_MAX_BYTES = 5000000,
    IMPORT_BODY_MAX_ROW_BYTES = 100000, /* the profile object as sent */
};

/* What precedes the profile objects, which are then joined by commas. */
extern const char import_body_head[];

/*
 * What follows them; list_id becomes an escaped JSON string. NULL: the import updates the
 * profiles and puts nobody on a list.
 */
void import_body_add_tail(struct strbuf *out, const char *list_id);

/* Head and tail with a list together: what a request costs in addition to its profiles, in bytes.
 */
size_t import_body_frame_bytes(const char *list_id);

/*
 * rows: profile objects joined by commas (white space around them is fine), n
 * bytes; tail: from import_body_add_tail(). Both are lent, see request.h.
 */
struct request import_body_request(const char *rows, size_t n, const struct strbuf *tail);

#endif
