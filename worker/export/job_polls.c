#include "worker/export/job_polls.h"

#include "worker/klaviyo/job_listing.h"

enum {
    LISTING_TRIES = 2, /* in vain, one after the other */
    GATHER_MS = 100,   /* chosen: ten imports, as many as go at once, are accepted within it */
};

void job_polls_init(struct job_polls *polls, const struct import_rules *rules)
{
    *polls = (struct job_polls){
        .listing = { .kind = PENDING_JOB_LISTING, .endpoint = ENDPOINT_JOBS },
        .distance_ms = rules->poll_interval_min_ms / 2,
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

/*
 * A page of the newest jobs: whose job is not on it is polled alone, unless it was accepted
 * while the page was on its way.
 */
static void note_listing(const struct job_polls *polls, const struct import_set *imports,
                         const struct import_context *context, const struct job_listing *listing)
{
    for (size_t i = 0; i < imports->n; i++) {
        struct batch_import *import = imports->import[i];
        const struct import_job *job;

        if (import->step != IMPORT_POLL || import->request.in_flight)
            continue;
        job = job_listing_find(listing, import->batch.job_id);
        if (job)
            batch_import_job(import, context, job);
        else if (import->watched_ms < polls->listing.started_ms)
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
        note_listing(polls, imports, context, &listing);
        job_listing_release(&listing);
    } else if (job_polls_are_useless(polls, VERDICT_AGAIN)) {
        job_polls_give_up(polls, response->status);
    } else {
        request_schedule_unread(context->schedule, &polls->listing, context->now_ms, &malformed);
    }
}

/* Now: while it is throttled or failed a moment ago, jobs are polled one by one. */
static bool may_go(const struct job_polls *polls, const struct request_schedule *schedule,
                   int64_t now_ms)
{
    return !polls->given_up && now_ms >= polls->listing.due_ms &&
           now_ms >= schedule->not_before_ms[ENDPOINT_JOBS];
}

static bool is_common(const struct batch_import *import)
{
    return import->step == IMPORT_POLL && !import->poll_alone && !import->request.in_flight;
}

/* Polls that it answers all at once. *oldest_ms: when the first of them is due. */
static size_t count_common(const struct import_set *imports, int64_t *oldest_ms)
{
    size_t n = 0;

    *oldest_ms = REQUEST_SCHEDULE_NEVER;
    for (size_t i = 0; i < imports->n; i++) {
        const struct batch_import *import = imports->import[i];

        if (!is_common(import))
            continue;
        n++;
        if (import->request.due_ms < *oldest_ms)
            *oldest_ms = import->request.due_ms;
    }
    return n;
}

/* The last one that is due within a moment of the oldest. */
static int64_t gathered_ms(const struct import_set *imports, int64_t oldest_ms)
{
    int64_t last_ms = oldest_ms;

    for (size_t i = 0; i < imports->n; i++) {
        int64_t due_ms = imports->import[i]->request.due_ms;

        if (is_common(imports->import[i]) && due_ms > last_ms && due_ms <= oldest_ms + GATHER_MS)
            last_ms = due_ms;
    }
    return last_ms;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool job_polls_are_common(const struct job_polls *polls, const struct import_set *imports,
                          const struct request_schedule *schedule, int64_t now_ms, int64_t *due_ms)
{
    const struct pending_request *listing = &polls->listing;
    int64_t oldest_ms;

    *due_ms = request_schedule_due_ms(schedule, listing);
    if (listing->in_flight)
        return true;
    if (!may_go(polls, schedule, now_ms) || count_common(imports, &oldest_ms) < 2)
        return false;
    *due_ms = later(*due_ms, listing->started_ms + polls->distance_ms);
    *due_ms = later(*due_ms, gathered_ms(imports, oldest_ms));
    return true;
}
