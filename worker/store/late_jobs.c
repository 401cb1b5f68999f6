#include "worker/store/late_jobs.h"

#include <stdlib.h>

#include "common/failpoint.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

static const char load_sql[] = "select late_job_id, job_id, given_up"
                               " from klaviyo.late_jobs($1, $2::uuid, $3)";

static const char settle_sql[] = "select klaviyo.settle_late_job($1, $2::uuid, $3)";

static const char leave_sql[] =
    "with " FENCE " update klaviyo.late_job j set given_up = true"
    " from fence f where j.late_job_id = $3 and j.export_id = f.export_id"
    " returning j.late_job_id";

void late_jobs_release(struct late_jobs *jobs)
{
    for (size_t i = 0; i < jobs->n; i++)
        free(jobs->items[i].job_id);
    free(jobs->items);
    *jobs = (struct late_jobs){ .n = 0 };
}

static bool read_jobs(const PGresult *rows, struct late_jobs *jobs, struct error *err)
{
    size_t n = (size_t)result_rows(rows);

    jobs->items = calloc(n + 1, sizeof *jobs->items);
    if (!jobs->items)
        return error_no_memory(err);
    for (; jobs->n < n; jobs->n++) {
        int row = (int)jobs->n;
        struct late_job *job = &jobs->items[row];

        job->late_job_id = result_int64(rows, row, 0);
        job->given_up = result_bool(rows, row, 2);
        if (!result_copy_text(rows, row, 1, &job->job_id, err))
            return false;
    }
    return true;
}

bool late_jobs_load(struct db *db, const struct run_task *task, int64_t unknown_ms,
                    struct late_jobs *jobs, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(late_jobs_release) struct late_jobs read = { .n = 0 };
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, unknown_ms);
    if (!db_query(db, load_sql, &args, &rows, err) || !read_jobs(rows, &read, err))
        return false;
    *jobs = read;
    read = (struct late_jobs){ .n = 0 };
    return true;
}

bool late_job_settle(struct db *db, const struct run_task *task, int64_t late_job_id,
                     struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, late_job_id);
    if (!FAILPOINT_AROUND("settle_late_job", db_query(db, settle_sql, &args, &rows, err)))
        return false;
    return result_bool(rows, 0, 0) || error_lost(err);
}

bool late_job_leave(struct db *db, const struct run_task *task, int64_t late_job_id,
                    struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, late_job_id);
    return FAILPOINT_AROUND("leave_late_job", db_fenced(db, leave_sql, &args, NULL, err));
}
