#ifndef WORKER_KLAVIYO_IMPORT_JOB_H
#define WORKER_KLAVIYO_IMPORT_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * Bulk import jobs: Klaviyo's way to take many profiles at once.
 *
 * A POST with up to 10,000 profiles is answered by a job; the job is polled
 * until it has ended; what it did not import is then read page by page. This
 * module makes the requests and reads the answers; it sends nothing.
 *
 * Parsers take a response that the verdict called OK or ACCEPTED. They are
 * lenient: members that are not asked for are ignored, counts may be null.
 * ERROR_RETRY: the body is malformed (or memory is out): ask again.
 */

/* Klaviyo's limits: OpenAPI description, "Bulk Import Profiles"; MB and KB read as powers of ten.
 */
enum {
    IMPORT_JOB_MAX_ROWS = 10000,
    IMPORT_JOB_MAX_BYTES = 5000000,
    IMPORT_JOB_MAX_ROW_BYTES = 100000, /* the profile object as sent */
    IMPORT_JOB_PAGE_ROWS = 100,        /* the largest page[size] of listings and errors */
    IMPORT_JOB_ID_BYTES = 256,         /* seen: 58 characters; opaque */
};

/* ---- the request ---- */

/* What precedes the profile objects, which are then joined by commas. */
extern const char import_job_head[];

/*
 * What follows them; list_id becomes an escaped JSON string. NULL: the import updates the
 * profiles and puts nobody on a list.
 */
void import_job_add_tail(struct strbuf *out, const char *list_id);

/* Head and tail with a list together: what a request costs beside its profiles, in bytes. */
size_t import_job_frame_bytes(const char *list_id);

/*
 * rows: profile objects joined by commas (white space around them is fine), n
 * bytes; tail: from import_job_add_tail(). Both are lent, see request.h.
 */
struct request import_job_request(const char *rows, size_t n, const struct strbuf *tail);

/* ---- the job ---- */

enum import_job_status {
    IMPORT_JOB_UNKNOWN, /* a word we do not know: neither ended nor wrong, poll again */
    IMPORT_JOB_QUEUED,
    IMPORT_JOB_PROCESSING,
    IMPORT_JOB_COMPLETE, /* also with rows that failed */
    IMPORT_JOB_CANCELLED,
};

/*
 * The job has no member failed_count: this receiver does not count, its errors tell all. A
 * null is something else: the published API allows it, and says so of jobs that still run.
 */
enum { IMPORT_JOB_NOT_COUNTED = -2 };

struct import_job {
    char id[IMPORT_JOB_ID_BYTES]; /* never empty */
    enum import_job_status status;
    int64_t total; /* profiles; -1: not said. So for the two below */
    int64_t completed;
    int64_t failed; /* or IMPORT_JOB_NOT_COUNTED */
};

/* True for a complete or cancelled job. Counts do not tell: what they count is not documented. */
bool import_job_has_ended(const struct import_job *job);

/* Polls one job; id is lent and not empty (an empty one would ask for the listing). */
struct request import_job_poll_request(const char *id);

/* The job of a 202 or of a poll; a listing is refused. */
bool import_job_parse(const struct response *response, struct import_job *out, struct error *err)
    MUST_USE;

/* ---- many jobs at once ---- */

/* The newest jobs of the account; at most IMPORT_JOB_PAGE_ROWS. Includes those of other tools. */
struct request import_job_listing_request(void);

struct import_job_listing {
    struct import_job *jobs;
    size_t n;
};

#define IMPORT_JOB_LISTING_INIT ((struct import_job_listing){ .jobs = NULL })

/* A single job is refused; an entry without an id is left out. */
bool import_job_listing_parse(const struct response *response, struct import_job_listing *out,
                              struct error *err) MUST_USE;

/* The job with that id, lent until release; NULL: not on this page. */
const struct import_job *import_job_listing_find(const struct import_job_listing *listing,
                                                 const char *id);

/* Frees the jobs. Accepts IMPORT_JOB_LISTING_INIT. */
void import_job_listing_release(struct import_job_listing *listing);

/* ---- what a job did not import ---- */

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
    const char *next; /* link to the page after; NULL: this was the last */
    struct json_t *document;
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
