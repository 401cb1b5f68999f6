#ifndef WORKER_EXPORT_JOB_POLLS_H
#define WORKER_EXPORT_JOB_POLLS_H

#include <stdbool.h>

#include "worker/export/batch_import.h"
#include "worker/export/import_set.h"
#include "worker/export/request_schedule.h"
#include "worker/klaviyo/response.h"
#include "worker/klaviyo/verdict.h"

/*
 * Polls of several jobs by one request, the listing of the newest ones (pure).
 *
 * It only saves requests: where it is not served, of no use, or may not go now, each job
 * is polled by itself. So is one that is not on the page.
 */
struct job_polls {
    struct pending_request listing;
    int64_t distance_ms; /* between two of them, at least */
    bool given_up;
    int untold_status; /* with which it was given up, until that is reported; -1 */
};

/*
 * The listing is tried, at most twice in the shortest interval of polls: with 150 imports a
 * minute, one for each would use up the listing's own limit of 150.
 */
void job_polls_init(struct job_polls *polls, const struct import_rules *rules);

/* Jobs are polled one by one from now on; status: that of the response, to be reported. */
void job_polls_give_up(struct job_polls *polls, int status);

/* What the verdict means for the listing: it is to be given up. */
bool job_polls_are_useless(const struct job_polls *polls, enum verdict_action action);

/* A response of use: what it says of each job goes to its import. */
void job_polls_response(struct job_polls *polls, const struct import_set *imports,
                        const struct import_context *context, const struct response *response);

/*
 * Whether the listing stands for the polls of all jobs, but for those that are polled alone;
 * *due_ms: when to send it as far as is known, NEVER while it is in flight. Jobs that are due
 * within a moment of each other share one, and the next comes after its distance.
 */
bool job_polls_are_common(const struct job_polls *polls, const struct import_set *imports,
                          const struct request_schedule *schedule, int64_t now_ms, int64_t *due_ms);

#endif
