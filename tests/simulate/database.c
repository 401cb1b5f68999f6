#include "tests/simulate/database.h"

#include <stdio.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/trace.h"

struct database database;

void database_begin(void)
{
    memset(&database, 0, sizeof database);
    for (int i = 0; i < EXPORTS; i++)
        database.exports[i] =
            (struct export_row){ .account = (int)dice(ACCOUNTS),
                                 .list = (int)dice(LISTS),
                                 .segments = 1 + (unsigned)dice((1 << SEGMENTS) - 1),
                                 .removes_leavers = dice(2) == 0,
                                 .list_known = dice(2) == 0 };
}

int64_t database_run_number(const struct run_row *run)
{
    return run - database.runs;
}

struct run_row *database_owned(const struct run_task *task)
{
    struct run_row *run = &database.runs[task->run_id];

    return run->state == RUN_RUNNING && strcmp(run->take, task->take_id) == 0 ? run : NULL;
}

struct outbox_row *database_batch(int64_t batch, const struct run_task *task)
{
    struct outbox_row *b = &database.batches[batch];

    return b->state != BATCH_NONE && b->run == task->run_id ? b : NULL;
}

bool database_is_posted(int64_t batch)
{
    const struct outbox_row *b = &database.batches[batch];

    return b->state == BATCH_SENT || b->state == BATCH_UNRESOLVED ||
           (b->state == BATCH_PLANNED && b->posted_ms);
}

int64_t database_new_batch(void)
{
    must(database.n_batches < BATCHES_MAX, "the simulation has no room for another batch");
    return ++database.n_batches;
}

/* ---- late jobs ---- */

static unsigned people_of(int export, int64_t batch)
{
    unsigned set = 0;

    for (int i = 0; i < PEOPLE; i++)
        if (database.ledger[export][i].known && database.ledger[export][i].batch == batch)
            set |= 1U << i;
    return set;
}

void database_keep_late_job(int64_t batch, const char *job, bool given_up)
{
    const struct outbox_row *b = &database.batches[batch];
    unsigned set = people_of(b->export, batch);

    if (set == 0)
        return;
    must(database.n_late_jobs < LATE_JOBS_MAX, "the simulation has no room for another late job");
    struct late_job_row *late = &database.late_jobs[++database.n_late_jobs];

    *late = (struct late_job_row){ .there = true,
                                   .export = b->export,
                                   .batch = batch,
                                   .since_ms = b->posted_ms ? b->posted_ms : fiber_now_ms(),
                                   .given_up = given_up,
                                   .names_list = b->names_list,
                                   .people = set };
    (void)snprintf(late->job, sizeof late->job, "%s", job ? job : "");
    for (int i = 0; i < PEOPLE && b->names_list; i++)
        if ((set >> i & 1) && database.runs[b->run].state == RUN_RUNNING)
            database.ledger[b->export][i].perhaps_listed = true;
}

/* Whom it has may be on the list by that job, also who is not in the ledger any more. */
void database_settle_late_job(struct late_job_row *job)
{
    for (int i = 0; i < PEOPLE; i++) {
        struct ledger_entry *entry = &database.ledger[job->export][i];

        if (!(job->people >> i & 1))
            continue;
        if (!entry->known) {
            *entry = (struct ledger_entry){ .known = job->names_list,
                                            .batch = job->batch,
                                            .removing = true };
            continue;
        }
        if (entry->batch != job->batch)
            entry->fingerprint = 0;
        entry->perhaps_listed |= job->names_list;
    }
    job->there = false;
}

bool database_knows_job(const char *job)
{
    for (int64_t i = 1; i <= database.n_batches; i++)
        if (strcmp(database.batches[i].job, job) == 0)
            return true;
    for (int64_t i = 1; i <= database.n_late_jobs; i++)
        if (database.late_jobs[i].there && strcmp(database.late_jobs[i].job, job) == 0)
            return true;
    return false;
}

static void leave_jobs(const struct run_row *run)
{
    for (int64_t i = 1; i <= database.n_batches; i++) {
        const struct outbox_row *b = &database.batches[i];

        if (b->run != database_run_number(run))
            continue;
        if (b->state == BATCH_SENT || (b->state == BATCH_PLANNED && b->posted_ms))
            database_keep_late_job(i, *b->job ? b->job : NULL, false);
    }
}

/* ---- the end of a run ---- */

void database_write_outcomes(struct run_row *run)
{
    for (int s = 0; s < SEGMENTS; s++) {
        if (!(database.exports[run->export].segments >> s & 1))
            continue;
        must(database.n_outcomes < OUTCOMES_MAX, "the simulation has no room for another outcome");
        database.outcomes[++database.n_outcomes] = (struct outcome_row){
            .there = true, .run = database_run_number(run), .epoch = run->epoch, .segment = s
        };
    }
}

/* Done, or dead, once all its runs have ended. */
void database_settle_request(struct request_row *request)
{
    if (request->state != EVENT_ROW_OPEN)
        return;
    for (int i = 0; i < request->n_runs; i++)
        if (!run_state_is_end(database.runs[request->runs[i]].state))
            return;
    request->state = EVENT_ROW_DONE;
    for (int i = 0; i < request->n_runs; i++) {
        const struct run_row *run = &database.runs[request->runs[i]];
        size_t len = strlen(request->exports);

        if (run->state != RUN_FAILED)
            continue;
        request->state = EVENT_ROW_DEAD_LETTER_DUE;
        if (!request->failed_run)
            request->failed_run = request->runs[i];
        (void)snprintf(request->exports + len, sizeof request->exports - len, "%se%d",
                       len ? "," : "", run->export);
    }
}

static void settle_requests(int64_t run)
{
    for (int64_t i = 1; i <= database.n_requests; i++)
        for (int k = 0; k < database.requests[i].n_runs; k++)
            if (database.requests[i].runs[k] == run)
                database_settle_request(&database.requests[i]);
    database_notify();
}

void database_close_run(struct run_row *run, enum run_state state, enum run_reason reason)
{
    bool leaves = run->state == RUN_RUNNING && (state == RUN_FAILED || state == RUN_CANCELLED);
    int64_t number = database_run_number(run);

    trace("run %d of e%d ends: %s %s", (int)number, run->export, run_state_name(state),
          reason == REASON_NONE ? "" : run_reason_name(reason));
    (void)snprintf(run->last_take, sizeof run->last_take, "%s", run->take);
    run->take[0] = '\0';
    run->epoch++;
    run->reason = reason;
    run->state =
        state == RUN_SUCCEEDED && run->rejected > 0 ? RUN_SUCCEEDED_WITH_REJECTIONS : state;
    run->parked_until_ms = 0;
    if (leaves)
        leave_jobs(run);
    database_write_outcomes(run);
    for (int64_t i = 1; i <= database.n_batches; i++)
        if (database.batches[i].run == number && database.batches[i].state == BATCH_COMPLETE)
            database.batches[i].state = BATCH_NONE;
    settle_requests(number);
}

/* ---- commands ---- */

void database_pause(int export, bool pause)
{
    trace("export e%d is %s", export, pause ? "paused" : "resumed");
    database.exports[export].paused = pause;
    for (int64_t i = 1; pause && i <= database.n_runs; i++)
        if (database.runs[i].export == export && !run_state_is_end(database.runs[i].state))
            database_close_run(&database.runs[i], RUN_CANCELLED, REASON_EXPORT_PAUSED);
}

/* A running one is ended by its owner. */
void database_cancel(int64_t number)
{
    struct run_row *run = &database.runs[number];

    trace("run %d is cancelled", (int)number);
    if (run->state == RUN_QUEUED ||
        (run->state == RUN_RUNNING && run->lease_until_ms < fiber_now_ms()))
        database_close_run(run, RUN_CANCELLED, REASON_CANCELLED_BY);
    else if (run->state == RUN_RUNNING)
        run->cancelled = true;
}

bool database_list_is_claimed(const struct run_row *run)
{
    const struct export_row *x = &database.exports[run->export];
    int64_t holder = database.claims[x->account][x->list].run;
    const struct run_row *h = &database.runs[holder];

    return holder && h != run && h->state == RUN_RUNNING && h->removal_epoch == h->epoch;
}

int database_open(void)
{
    int n = 0;

    for (int64_t i = 1; i <= database.n_requests; i++)
        n += database.requests[i].state == EVENT_ROW_OPEN ||
             database.requests[i].state == EVENT_ROW_DEAD_LETTER_DUE;
    for (int64_t i = 1; i <= database.n_runs; i++)
        n += !run_state_is_end(database.runs[i].state);
    for (int64_t i = 1; i <= database.n_outcomes; i++)
        n += database.outcomes[i].there;
    return n;
}
