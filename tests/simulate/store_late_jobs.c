#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/trace.h"
#include "worker/store/late_jobs.h"

/* store/late_jobs.h, by schemas/sql/0014_late_jobs.sql. */

void late_jobs_release(struct late_jobs *jobs)
{
    for (size_t i = 0; i < jobs->n; i++)
        free(jobs->items[i].job_id);
    free(jobs->items);
    *jobs = (struct late_jobs){ .n = 0 };
}

static struct late_job_row *row_of(const struct run_task *task, int64_t number)
{
    struct late_job_row *row = &database.late_jobs[number];

    return row->there && row->export == (int)task->export_id - 1 ? row : NULL;
}

bool late_jobs_load(struct db *db, const struct run_task *task, int64_t unknown_ms,
                    struct late_jobs *jobs, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct late_jobs found = { .n = 0 };

    found.items = calloc((size_t)database.n_late_jobs + 1, sizeof *found.items);
    assert(found.items);
    for (int64_t i = 1; i <= database.n_late_jobs && database_owned(task); i++) {
        struct late_job_row *row = row_of(task, i);

        if (!row)
            continue;
        if (*row->job)
            found.items[found.n++] = (struct late_job){ i, strdup(row->job), row->given_up };
        else if (row->since_ms < fiber_now_ms() - unknown_ms)
            database_settle_late_job(row);
    }
    if (!statement_is_answered(db, err)) {
        late_jobs_release(&found);
        return false;
    }
    *jobs = found;
    return true;
}

bool late_job_settle(struct db *db, const struct run_task *task, int64_t late_job_id,
                     struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(task))
        return statement_is_refused(db, err);
    if (row_of(task, late_job_id))
        database_settle_late_job(&database.late_jobs[late_job_id]);
    return statement_is_answered(db, err);
}

bool late_job_leave(struct db *db, const struct run_task *task, int64_t late_job_id,
                    struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(task) || !row_of(task, late_job_id))
        return statement_is_refused(db, err);
    database.late_jobs[late_job_id].given_up = true;
    return statement_is_answered(db, err);
}
