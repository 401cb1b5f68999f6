#ifndef WORKER_KLAVIYO_IMPORT_JOB_H
#define WORKER_KLAVIYO_IMPORT_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * Bulk import jobs: Klaviyo's way to take many profiles at once.
 *
 * A POST with up to 10,000 profiles (import_body.h) is answered by a job; the
 * job is polled, alone or in the listing of jobs (job_listing.h), until it has
 * ended; what it did not import is then read page by page (import_errors.h).
 * These modules make the requests and read the responses; they send nothing.
 *
 * Parsers take a response that the verdict called OK or ACCEPTED. They are
 * lenient: members that are not asked for are ignored, counts may be null.
 * ERROR_RETRY: the body is malformed (or memory is out): ask again.
 */
enum {
    IMPORT_JOB_ID_BYTES = 256, /* seen: 58 characters; opaque */
    IMPORT_JOB_ODD_BYTES = 32,
};

#define IMPORT_JOB_PAGE_ROWS "100" /* the largest page[size] of jobs and errors */

enum import_job_status {
    IMPORT_JOB_UNKNOWN, /* a status we do not know: neither ended nor wrong, poll again */
    IMPORT_JOB_QUEUED,
    IMPORT_JOB_PROCESSING,
    IMPORT_JOB_COMPLETE, /* also with rows that failed */
    IMPORT_JOB_CANCELLED,
};

/*
 * The job has no member failed_count: this receiver does not count, its errors are the only
 * source. A null is something else: the published API has it for jobs that still run.
 */
enum { IMPORT_JOB_NOT_COUNTED = -2 };

struct import_job {
    char id[IMPORT_JOB_ID_BYTES]; /* never empty */
    enum import_job_status status;
    char odd_status[IMPORT_JOB_ODD_BYTES]; /* UNKNOWN: the word, if it is one that a log may hold */
    int64_t failed;                        /* profiles; -1: null; or IMPORT_JOB_NOT_COUNTED */
};

/* True for a complete or cancelled job. Not by its counts: what they count is not documented. */
bool import_job_has_ended(const struct import_job *job);

/* Polls one job; id is lent and not empty (an empty one would ask for the listing). */
struct request import_job_poll_request(const char *id);

/* The job of a 202 or of a poll; a listing is refused. */
bool import_job_parse(const struct response *response, struct import_job *out, struct error *err)
    MUST_USE;

/*
 * Whether that may be in a path and in a log: not empty, nothing that could
 * be read as another path, no address. NULL is not one.
 */
bool import_job_is_id(const char *id);

struct json_t;

/* Of a resource of the API; false where it is no job: *out may be half written. */
bool import_job_read(const struct json_t *resource, struct import_job *out) MUST_USE;

#endif
