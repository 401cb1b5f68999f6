#include "worker/export/job_polls.h"

#include "worker/klaviyo/job_listing.h"

enum { LISTING_TRIES = 2 /* in vain, one after the other */ };

void job_polls_init(struct job_polls *polls)
{
    *polls = (struct job_polls){
        .listing = { .kind = PENDING_JOB_LISTING, .endpoint = ENDPOINT_JOBS },
        .untold_status = -1,
    };
}

void job_polls_give_up(struct job_polls *polls, int status)
{
    polls->given_up = true;
    polls->untold_status = status;
}

bool job_polls_are_useless(const struct job_polls *polls, enum verdict_action action)
{
    switch (action) {
    case VERDICT_OK:
    case VERDICT_THROTTLED:
    case VERDICT_KEY_REFUSED:
    case VERDICT_SCOPE_MISSING:
        return false;
    case VERDICT_AGAIN:
        return polls->listing.attempts >= LISTING_TRIES;
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_GONE:
    case VERDICT_UNEXPECTED:
        break;
    }
    return true;
}

/* A page of the newest jobs: whose job is not on it is polled alone. */
static void note_listing(const struct import_set *imports, const struct import_context *context,
                         const struct job_listing *listing)
{
    for (size_t i = 0; i < imports->n; i++) {
        struct batch_import *import = imports->import[i];
        const struct import_job *job;

        if (import->step != IMPORT_POLL || import->request.in_flight)
            continue;
        job = job_listing_find(listing, import->batch.job_id);
        if (job)
            batch_import_job(import, context, job);
        else
            import->poll_alone = true;
    }
}

void job_polls_response(struct job_polls *polls, const struct import_set *imports,
                        const struct import_context *context, const struct response *response)
{
    struct job_listing listing = JOB_LISTING_INIT;
    struct error malformed = ERROR_INIT;

    if (job_listing_parse(response, &listing, &malformed)) {
        polls->listing.attempts = 0;
        note_listing(imports, context, &listing);
        job_listing_release(&listing);
    } else if (job_polls_are_useless(polls, VERDICT_AGAIN)) {
        job_polls_give_up(polls, response->status);
    } else {
        request_schedule_again(context->schedule, &polls->listing, context->now_ms, 0);
    }
}

/* Now: while it is throttled or failed a moment ago, jobs are polled one by one. */
static bool may_go(const struct job_polls *polls, const struct request_schedule *schedule,
                   int64_t now_ms)
{
    return !polls->given_up && now_ms >= polls->listing.due_ms &&
           now_ms >= schedule->not_before_ms[ENDPOINT_JOBS];
}

/* Polls that it answers all at once. */
static size_t count_common(const struct import_set *imports, int64_t now_ms, bool *due)
{
    size_t n = 0;

    for (size_t i = 0; i < imports->n; i++) {
        const struct batch_import *import = imports->import[i];

        if (import->step != IMPORT_POLL || import->poll_alone || import->request.in_flight)
            continue;
        n++;
        *due = *due || now_ms >= import->request.due_ms;
    }
    return n;
}

bool job_polls_are_common(const struct job_polls *polls, const struct import_set *imports,
                          const struct request_schedule *schedule, int64_t now_ms, bool *due)
{
    *due = false;
    if (polls->listing.in_flight)
        return true;
    return may_go(polls, schedule, now_ms) && count_common(imports, now_ms, due) > 1;
}
