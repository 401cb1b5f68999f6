#include "worker/export/trial_plan.h"

#include "worker/export/scan_stop.h"
#include "worker/klaviyo/import_body.h"
#include "worker/store/runs.h"

/* Less than any frame takes of a request, so that the rows are one. */
enum { ROOM_BYTES = IMPORT_BODY_MAX_BYTES - 4096 };

void trial_plan_init(struct trial_plan *plan, const struct secret_source *database_url,
                     int64_t rows, const char *profile)
{
    *plan = (struct trial_plan){ .database_url = *database_url };
    trial_init(&plan->trial, rows, profile, ROOM_BYTES);
}

void trial_plan_release(struct trial_plan *plan)
{
    if (plan->scan.task)
        member_scan_release(&plan->scan);
    trial_release(&plan->trial);
}

/* No snapshot is held while it waits for Klaviyo. */
static void close_connections(struct member_scan *scan)
{
    db_free(db_take(&scan->members_db));
    db_free(db_take(&scan->ledger_db));
}

static bool read_rows(struct trial_plan *plan, struct error *err)
{
    CLEANUP(scan_stop_freep) struct scan_stop *stop = NULL;

    return (scan_stop_open(&stop, &plan->scan, &plan->database_url, "klaviyo-worker trial", err) &&
            member_scan_read(&plan->scan, err)) ||
           scan_stop_failure(plan->scan.observer, err);
}

bool trial_plan_read(struct trial_plan *plan, const struct run_task *task,
                     const struct scan_observer *observer, struct error *err)
{
    bool ok = member_scan_init(&plan->scan, task, observer, err);

    plan->scan.trial = &plan->trial;
    ok = ok && read_rows(plan, err);
    close_connections(&plan->scan);
    return ok;
}

/* What it sends, not what it read to find that. */
static struct run_counts counts_of(const struct trial *trial)
{
    return (struct run_counts){ .read = trial->n, .selected = trial->n };
}

static bool write_all(struct trial_plan *plan, const struct run_task *run, struct error *err)
{
    struct run_counts counts = counts_of(&plan->trial);
    struct db *db = plan->scan.writer.outbox_db;

    return db_begin(db, err) && member_scan_write_trial(&plan->scan, run, err) &&
           runs_end_plan(db, run, &counts, err) && db_commit(db, err);
}

bool trial_plan_write(struct trial_plan *plan, const struct run_task *run, struct error *err)
{
    const struct db_options how = { .url = plan->database_url, .name = "klaviyo-worker trial" };

    if (!db_open(&plan->scan.writer.outbox_db, &how, err))
        return false;
    bool ok = write_all(plan, run, err);
    db_free(db_take(&plan->scan.writer.outbox_db));
    return ok;
}
