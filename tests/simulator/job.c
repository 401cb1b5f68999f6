#include "tests/simulator/job.h"

#include <stdlib.h>
#include <string.h>

#include "tests/simulator/memory.h"

static bool same_id(const void *owner, uint32_t number, const char *key, size_t n)
{
    const char *id = ((const struct jobs *)owner)->list[number]->id;

    return strncmp(id, key, n) == 0 && id[n] == '\0';
}

void job_fail_silently(struct job *job, uint32_t row)
{
    if (row >= job->total || job->row_failed[row])
        return;
    job->row_failed[row] = true;
    job->failed++;
}

static void fail_row(struct job *job, const struct problem *problem)
{
    uint32_t row = (uint32_t)problem->row;
    struct span attributes = job->import.rows[row].attributes;

    job_fail_silently(job, row);
    job->errors =
        memory_grow(job->errors, &job->errors_cap, job->n_errors + 1, sizeof *job->errors);

    struct job_error *error = &job->errors[job->n_errors++];
    error->row = row;
    error->problem = *problem;
    error->payload = memory_text(job->import.body + attributes.at, attributes.n);
    identity_uuid(error->uuid);
}

static void fail_by_fate(struct job *job)
{
    struct problem problem = { .unidentified = true,
                               .code = "invalid",
                               .detail = "The profile could not be imported." };

    for (uint32_t row = 0; row < job->fate_rows && row < job->total; row++) {
        problem.row = row;
        if (job->fate == FATE_FAIL_WITHOUT_ERRORS)
            job_fail_silently(job, row);
        else if (job->fate == FATE_ERRORS_NAMELESS && !job->row_failed[row])
            fail_row(job, &problem);
    }
}

static void enlist(struct jobs *jobs, struct job *job)
{
    jobs->list = memory_grow(jobs->list, &jobs->cap, jobs->n + 1, sizeof(struct job *));
    jobs->list[jobs->n] = job;
    index_add(&jobs->by_id, index_hash(job->id, strlen(job->id)), (uint32_t)jobs->n);
    jobs->n++;
    jobs->pending =
        memory_grow(jobs->pending, &jobs->pending_cap, jobs->n_pending + 1, sizeof(struct job *));
    jobs->pending[jobs->n_pending++] = job;
}

static void copy_plan(struct job *job, const struct job_plan *plan)
{
    job->account = plan->account;
    memcpy(job->lists, plan->lists, sizeof job->lists);
    job->n_lists = plan->n_lists;
    job->fate = plan->fate;
    job->fate_rows = plan->fate_rows;
    job->created_us = plan->now_us;
    job->starts_us = plan->starts_us;
    job->ends_us = plan->fate == FATE_STUCK ? INT64_MAX : plan->ends_us;
    identity_job(job->id, plan->account->id, plan->now_us);
}

struct job *jobs_add(struct jobs *jobs, const struct job_plan *plan, struct import *import,
                     char *body)
{
    struct job *job = memory_new(sizeof *job);

    copy_plan(job, plan);
    job->import = *import;
    job->body = body;
    *import = (struct import){ 0 };
    job->total = job->import.n;
    job->row_profiles = memory_new(job->total * sizeof *job->row_profiles);
    job->row_failed = memory_new(job->total * sizeof *job->row_failed);
    for (size_t i = 0; i < job->total; i++)
        job->row_profiles[i] = PROFILE_NONE;
    for (size_t i = 0; i < job->import.failures.n; i++)
        fail_row(job, &job->import.failures.list[i]);
    fail_by_fate(job);
    enlist(jobs, job);
    return job;
}

struct job *jobs_find_any(const struct jobs *jobs, const char *id)
{
    size_t n = strlen(id);
    uint32_t number = index_find(&jobs->by_id, index_hash(id, n), id, n, same_id, jobs);

    return number == INDEX_NONE ? NULL : jobs->list[number];
}

struct job *jobs_find(const struct jobs *jobs, const struct account *account, const char *id)
{
    struct job *job = jobs_find_any(jobs, id);

    return job && job->account == account && job->fate != FATE_VANISH ? job : NULL;
}

static void apply_row(struct job *job, size_t i)
{
    const struct import_row *row = &job->import.rows[i];
    struct profiles *profiles = &job->account->profiles;

    /* An id that is nobody's is refused when the request comes; it may have no other name. */
    uint32_t number = profiles_upsert(profiles, &job->import, row, NULLS_IGNORED, job->ends_us);
    job->row_profiles[i] = number;
    for (size_t l = 0; l < job->n_lists; l++)
        list_join(job->lists[l], number, job->ends_us);
}

static bool takes_effect(const struct job *job)
{
    return job->fate != FATE_CANCELLED && job->fate != FATE_VANISH;
}

/* What is kept of a job that is over: who was in it. */
static void release_body(struct job *job)
{
    import_release(&job->import);
    free(job->body);
    job->body = NULL;
}

/* The addresses of the rows that have no profile to ask. */
static void keep_emails(struct job *job)
{
    if (takes_effect(job) && job->failed == 0)
        return;
    job->row_emails = memory_new(job->total * sizeof(char *));
    for (size_t i = 0; i < job->total; i++)
        if (job->row_profiles[i] == PROFILE_NONE)
            job->row_emails[i] =
                memory_string(import_text(&job->import, job->import.rows[i].email));
}

static void finish(struct job *job)
{
    if (takes_effect(job)) {
        for (size_t i = 0; i < job->total; i++)
            if (!job->row_failed[i])
                apply_row(job, i);
        job->account->profiles_accepted += job->total - job->failed;
    }
    keep_emails(job);
    job->applied = true;
    release_body(job);
}

/* The pending job that ends first, if its end has come; else NULL. */
static struct job *take_due(struct jobs *jobs, int64_t now_us)
{
    size_t first = 0;

    for (size_t i = 1; i < jobs->n_pending; i++)
        if (jobs->pending[i]->ends_us < jobs->pending[first]->ends_us)
            first = i;
    if (jobs->n_pending == 0 || jobs->pending[first]->ends_us > now_us)
        return NULL;

    /* Keeps the order, in which jobs that end together are taken. */
    struct job *job = jobs->pending[first];
    size_t behind = --jobs->n_pending - first;
    memmove(&jobs->pending[first], &jobs->pending[first + 1], behind * sizeof(struct job *));
    return job;
}

void jobs_advance(struct jobs *jobs, int64_t now_us)
{
    for (struct job *job; (job = take_due(jobs, now_us)) != NULL;)
        finish(job);
}

enum job_state job_state(const struct job *job, int64_t now_us)
{
    if (now_us >= job->ends_us)
        return job->fate == FATE_CANCELLED ? JOB_CANCELLED : JOB_COMPLETE;
    return now_us >= job->starts_us ? JOB_PROCESSING : JOB_QUEUED;
}

const char *job_state_name(enum job_state state)
{
    switch (state) {
    case JOB_QUEUED:
        return "queued";
    case JOB_PROCESSING:
        return "processing";
    case JOB_COMPLETE:
        return "complete";
    case JOB_CANCELLED:
        return "cancelled";
    }
    return "?";
}

const char *job_row_email(const struct job *job, size_t row)
{
    uint32_t profile = job->row_profiles[row];
    const char *email = NULL;

    if (!job->applied)
        return import_text(&job->import, job->import.rows[row].email);
    if (profile != PROFILE_NONE)
        email = job->account->profiles.list[profile].email;
    else if (job->row_emails)
        email = job->row_emails[row];
    return email ? email : "";
}

static void job_free(struct job *job)
{
    for (size_t i = 0; i < job->n_errors; i++)
        free(job->errors[i].payload);
    for (size_t i = 0; job->row_emails && i < job->total; i++)
        free(job->row_emails[i]);
    release_body(job);
    free(job->errors);
    free(job->row_emails);
    free(job->row_failed);
    free(job->row_profiles);
    free(job);
}

void jobs_release(struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->n; i++)
        job_free(jobs->list[i]);
    free(jobs->list);
    free(jobs->pending);
    index_release(&jobs->by_id);
    *jobs = (struct jobs){ 0 };
}
