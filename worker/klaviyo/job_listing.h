#ifndef WORKER_KLAVIYO_JOB_LISTING_H
#define WORKER_KLAVIYO_JOB_LISTING_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/import_job.h"

/*
 * The listing of import jobs: many jobs polled by one request. Parsing as in
 * import_job.h.
 */

/* The newest jobs of the account; at most IMPORT_JOB_PAGE_ROWS. Includes those of other tools. */
struct request job_listing_request(void);

struct job_listing {
    struct import_job *jobs;
    size_t n;
};

#define JOB_LISTING_INIT ((struct job_listing){ .jobs = NULL })

/* A single job is refused; an entry without an id is left out. */
bool job_listing_parse(const struct response *response, struct job_listing *out, struct error *err)
    MUST_USE;

/* The job with that id, lent until release; NULL: not on this page. */
const struct import_job *job_listing_find(const struct job_listing *listing, const char *id);

/* Frees the jobs. Accepts JOB_LISTING_INIT. */
void job_listing_release(struct job_listing *listing);

#endif
