#include <stdio.h>
#include <string.h>

#include "tests/simulator/page.h"
#include "tests/simulator/resource.h"
#include "tests/simulator/selection.h"

#define ROW_POINTER "/data/attributes/profiles/data/"

/* The lists that the import names; one that is not there is a problem of the whole request. */
static void find_lists(struct call *call, struct job_plan *plan)
{
    struct import *import = &call->import;

    for (size_t i = 0; i < import->n_lists; i++) {
        const char *id = import_text(import, import->lists[i]);
        struct list *list = lists_find(&call->world->lists, id);

        if (i == 0)
            (void)snprintf(call->list, sizeof call->list, "%s", id);
        if (list && list->account == call->account)
            plan->lists[plan->n_lists++] = list;
        else
            problems_add(&import->problems, PROBLEM_NO_ROW, "/data", "List ID %s does not exist.",
                         id);
    }
}

static void check_ids(struct call *call)
{
    struct import *import = &call->import;

    for (size_t i = 0; i < import->n; i++) {
        const struct import_row *row = &import->rows[i];

        if (row->id.n && profiles_by_row(&call->account->profiles, import, row) == PROFILE_NONE)
            problems_add(&import->problems, (int64_t)i, "id",
                         "A profile with id %s does not exist.", import_text(import, row->id));
    }
}

/* True if the import is refused, and the answer says why. */
static bool refuse(struct call *call)
{
    struct problems *problems = &call->import.problems;

    if (problems->n == 0)
        return false;
    problems_sort(problems);
    if (call->behaviour.sync_errors_max > 0)
        problems_cut_rows(problems, (size_t)call->behaviour.sync_errors_max);
    answer_problems(call->answer, problems, ROW_POINTER);
    return true;
}

static void plan_times(const struct call *call, struct job_plan *plan)
{
    int64_t work_us = call->behaviour.processing_ms * INT64_C(1000) +
                      (int64_t)call->import.n * call->behaviour.processing_us_per_profile;

    plan->now_us = call->now_us;
    plan->starts_us = call->now_us + call->behaviour.queued_ms * INT64_C(1000);
    plan->ends_us = plan->starts_us + work_us;
}

static struct job *create_job(struct call *call, const struct job_plan *plan)
{
    struct world *world = call->world;
    struct job *job = jobs_add(&world->jobs, plan, &call->import, call->request->body);

    call->request->body = NULL;
    for (size_t i = 0; world->rejects.n > 0 && i < job->total; i++)
        if (rejects_silently(&world->rejects, &job->import, i))
            job_fail_silently(job, (uint32_t)i);
    (void)snprintf(call->job, sizeof call->job, "%s", job->id);
    jobs_advance(&world->jobs, call->now_us);
    return job;
}

static void answer_job(struct call *call, const struct job *job, int status)
{
    struct strbuf *out = answer_document(call->answer, status);

    strbuf_add_str(out, "{\"data\":");
    resource_job(call, out, job);
    strbuf_add_str(out, ",");
    page_add_self(out, call->request);
    strbuf_add_str(out, "}");
}

/* What would have become of a job is for the next import that makes one. */
static void give_fate_back(struct call *call)
{
    if (call->fate == FATE_NORMAL)
        return;
    faults_give_back(&call->world->faults, call->fault);
    call->fault = 0;
}

void call_import(struct call *call)
{
    struct job_plan plan = { .account = call->account,
                             .fate = call->fate,
                             .fate_rows = call->fate_rows };

    call->account->profiles_received += call->import.n;
    find_lists(call, &plan);
    check_ids(call);
    rejects_judge(&call->world->rejects, &call->import);
    if (refuse(call)) {
        give_fate_back(call);
        return;
    }
    plan_times(call, &plan);
    answer_job(call, create_job(call, &plan), 202);
}

/* The job that the path names; NULL: the answer is a 404. */
static struct job *find_job(struct call *call)
{
    struct job *job = jobs_find(&call->world->jobs, call->account, call->id);

    if (!job) {
        answer_error(call->answer, 404, "not_found", "Not found.", "/data", "Invalid job id");
        return NULL;
    }
    (void)snprintf(call->job, sizeof call->job, "%s", job->id);
    return job;
}

void call_job(struct call *call)
{
    static const char *const allowed[] = { "include", "fields[profile-bulk-import-job]",
                                           "fields[list]", NULL };

    if (!call_allows(call, allowed))
        return;
    const struct job *job = find_job(call);
    if (job)
        answer_job(call, job, 200);
}

/* True if the job has one of the states that the filter names. */
static bool job_fits(const struct call *call, const struct filter *filter, const struct job *job)
{
    const char *state = job_state_name(job_state(job, call->now_us));

    if (job->account != call->account || job->fate == FATE_VANISH)
        return false;
    for (size_t i = 0; i < filter->n; i++)
        if (!condition_names(&filter->conditions[i], state))
            return false;
    return true;
}

static bool parse_job_filter(struct call *call, struct filter *filter)
{
    const char *text = request_arg(call->request, "filter");
    struct error err = ERROR_INIT;

    if (text && !filter_parse(filter, text, &err)) {
        answer_bad_parameter(call->answer, "filter", "%s", err.text);
        return false;
    }
    for (size_t i = 0; i < filter->n; i++) {
        const struct condition *condition = &filter->conditions[i];

        if (strcmp(condition->field, "status") == 0 && !condition_names(condition, "cancelled"))
            continue;
        answer_bad_parameter(call->answer, "filter", "'%s' is not a valid filter field.",
                             condition->field);
        return false;
    }
    return true;
}

/* 1: oldest first, -1: newest first, 0: the answer is a 400. */
static int parse_sort(struct call *call, const char *field)
{
    const char *sort = request_arg(call->request, "sort");

    if (!sort || strcmp(sort, field) == 0)
        return 1;
    if (sort[0] == '-' && strcmp(sort + 1, field) == 0)
        return -1;
    answer_bad_parameter(call->answer, "sort", "'%s' is not a valid sort.", sort);
    return 0;
}

/* Jobs lie in order of creation; a cursor holds the place of the last one shown. */
static void answer_jobs(struct call *call, const struct page *page, const struct filter *filter,
                        bool newest_first)
{
    const struct jobs *jobs = &call->world->jobs;
    struct strbuf *out = answer_document(call->answer, 200);
    size_t shown = 0;
    int64_t last = 0;
    bool more = false;

    strbuf_add_str(out, "{\"data\":[");
    for (size_t i = 0; i < jobs->n && !more; i++) {
        int64_t at = newest_first ? (int64_t)(jobs->n - i) - 1 : (int64_t)i;

        if (page->begun && (newest_first ? at >= page->number : at <= page->number))
            continue;
        if (!job_fits(call, filter, jobs->list[at]))
            continue;
        more = shown == page->size;
        if (more)
            break;
        strbuf_add_str(out, shown++ ? "," : "");
        resource_job(call, out, jobs->list[at]);
        last = at;
    }
    strbuf_add_str(out, "],");
    page_add_links(out, call->request, more, 0, last);
    strbuf_add_str(out, "}");
}

void call_jobs(struct call *call)
{
    static const char *const allowed[] = {
        "filter", "sort", "page[size]", "page[cursor]", "fields[profile-bulk-import-job]", NULL
    };
    CLEANUP(filter_release) struct filter filter = { 0 };
    struct page_limits limits = { .fallback = 20, .max = 100 };
    struct page page;

    if (!call_allows(call, allowed) || !page_parse(&page, call->request, limits, call->answer) ||
        !parse_job_filter(call, &filter))
        return;
    int direction = parse_sort(call, "created_at");
    if (direction)
        answer_jobs(call, &page, &filter, direction < 0);
}

void call_job_lists(struct call *call)
{
    const struct job *job = find_job(call);
    bool ids_only = call->operation == OP_JOB_LIST_IDS;

    if (!job)
        return;
    struct strbuf *out = answer_document(call->answer, 200);
    strbuf_add_str(out, "{\"data\":[");
    for (size_t i = 0; i < job->n_lists; i++) {
        strbuf_add_str(out, i ? "," : "");
        if (ids_only)
            resource_identifier(out, "list", job->lists[i]->id);
        else
            resource_list(call, out, job->lists[i], false);
    }
    strbuf_add_str(out, "],");
    page_add_self(out, call->request);
    strbuf_add_str(out, "}");
}

void call_job_profiles(struct call *call)
{
    static const char *const allowed[] = { "page[size]", "page[cursor]", "fields[profile]",
                                           "additional-fields[profile]", NULL };
    CLEANUP(filter_release) struct filter filter = { 0 };
    struct selection selection = { .account = call->account };
    const struct job *job = call_allows(call, allowed) ? find_job(call) : NULL;

    if (!job || !selection_parse(&selection, call, &filter))
        return;
    selection_pick_among(&selection, job->row_profiles, job->total);
    selection_answer(&selection, call, call->operation == OP_JOB_PROFILE_IDS);
}

/* Errors are known to the simulator at once, and to the client when the job is over. */
static size_t visible_errors(const struct call *call, const struct job *job)
{
    return job_state(job, call->now_us) == JOB_COMPLETE ? job->n_errors : 0;
}

static void answer_import_errors(struct call *call, const struct job *job, const struct page *page)
{
    struct strbuf *out = answer_document(call->answer, 200);
    size_t n = visible_errors(call, job);
    size_t from = page->begun && page->number >= 0 ? (size_t)page->number + 1 : 0;
    size_t to = from < n && n - from > page->size ? from + page->size : n;

    strbuf_add_str(out, "{\"data\":[");
    for (size_t i = from; i < to; i++) {
        strbuf_add_str(out, i > from ? "," : "");
        resource_import_error(call, out, &job->errors[i]);
    }
    strbuf_add_str(out, "],");
    page_add_links(out, call->request, to < n, 0, (int64_t)to - 1);
    strbuf_add_str(out, "}");
}

void call_import_errors(struct call *call)
{
    static const char *const allowed[] = { "page[size]", "page[cursor]", "fields[import-error]",
                                           NULL };
    struct page_limits limits = { .fallback = 20, .max = 100 };
    struct page page;

    if (!call_allows(call, allowed) || !page_parse(&page, call->request, limits, call->answer))
        return;
    const struct job *job = find_job(call);
    if (job)
        answer_import_errors(call, job, &page);
}
