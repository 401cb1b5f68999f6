#include "worker/klaviyo/job_listing.h"

#include <stdlib.h>
#include <string.h>

#include "worker/klaviyo/document.h"

struct request job_listing_request(void)
{
    return (struct request){
        .endpoint = ENDPOINT_JOBS,
        .query = { { "page[size]", IMPORT_JOB_PAGE_ROWS }, { "sort", "-created_at" } },
    };
}

bool job_listing_parse(const struct response *response, struct job_listing *out, struct error *err)
{
    CLEANUP(document_page_release) struct document_page page = DOCUMENT_PAGE_INIT;

    if (!document_page_parse(response, "it is no listing of jobs", &page, err))
        return false;
    struct import_job *jobs = calloc(page.n + 1, sizeof *jobs);
    if (!jobs)
        return error_no_memory(err);

    size_t i, n = 0;
    json_t *resource;
    json_array_foreach(page.data, i, resource)
        if (import_job_read(resource, &jobs[n]))
            n++;
    *out = (struct job_listing){ jobs, n };
    return true;
}

const struct import_job *job_listing_find(const struct job_listing *listing, const char *id)
{
    for (size_t i = 0; i < listing->n; i++)
        if (strcmp(listing->jobs[i].id, id) == 0)
            return &listing->jobs[i];
    return NULL;
}

void job_listing_release(struct job_listing *listing)
{
    free(listing->jobs);
    *listing = JOB_LISTING_INIT;
}
