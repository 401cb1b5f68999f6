#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/trace.h"
#include "worker/store/account_plan.h"
#include "worker/store/key_pairs.h"
#include "worker/store/rejections.h"

/* store/runs.h and run_task.h: runs, by schemas/sql/0005_runs.sql and those that replace it. */

enum { GIVE_BACK_PAUSE_MS = 2000, TAKES_IN_VAIN_MAX = 5 };

/* ---- which run is taken ---- */

static bool is_going(int export)
{
    for (int64_t i = 1; i <= database.n_runs; i++)
        if (database.runs[i].export == export && database.runs[i].state == RUN_RUNNING)
            return true;
    return false;
}

static bool is_abandoned(const struct run_row *run)
{
    return run->state == RUN_RUNNING && !run->parked_until_ms &&
           run->lease_until_ms < fiber_now_ms();
}

static bool is_parked(const struct run_row *run)
{
    return run->state == RUN_RUNNING && run->parked_until_ms &&
           run->parked_until_ms < fiber_now_ms();
}

static bool is_free(const struct run_row *run)
{
    return run->state == RUN_QUEUED && !is_going(run->export);
}

/* Whichever: fairness is not what is simulated. */
static struct run_row *choose(bool recover)
{
    struct run_row *chosen = NULL;
    int64_t n = 0;

    for (int64_t i = 1; i <= database.n_runs; i++) {
        struct run_row *run = &database.runs[i];

        if (!is_free(run) && !(recover && (is_abandoned(run) || is_parked(run))))
            continue;
        if (!database_list_is_claimed(run) && dice(++n) == 0)
            chosen = run;
    }
    return chosen;
}

static bool has_obstacle(const struct run_row *run, enum run_state *state, enum run_reason *reason)
{
    const struct export_row *x = &database.exports[run->export];

    if (x->paused) {
        *state = RUN_CANCELLED;
        *reason = REASON_EXPORT_PAUSED;
        return true;
    }
    *state = RUN_FAILED;
    *reason = database.accounts[x->account].needs_attention ? REASON_CONNECTION_NEEDS_ATTENTION
                                                            : REASON_TAKEN_OVER_TOO_OFTEN;
    return database.accounts[x->account].needs_attention ||
           run->takes_without_progress >= TAKES_IN_VAIN_MAX;
}

/* klaviyo.run_changes_hands() */
static void change_hands(struct run_row *run)
{
    bool was_parked = run->state == RUN_RUNNING && run->parked_until_ms;

    if (!was_parked) {
        run->takes_without_progress += run->state == RUN_RUNNING;
        run->planned = false;
        run->wait_reason = REASON_NONE;
        run->attempts = 0;
    }
    run->parked_until_ms = 0;
    (void)snprintf(run->take, sizeof run->take, "%08x-%04x", (unsigned)dice(INT32_MAX),
                   (unsigned)dice(UINT16_MAX));
}

static void take(struct run_row *run, const struct run_taker *taker)
{
    change_hands(run);
    run->state = RUN_RUNNING;
    run->taker = fiber_self();
    run->epoch++;
    run->lease_until_ms = fiber_now_ms() + taker->lease_ms;
    if (!run->first_batch)
        run->first_batch = database_new_batch();
    trace("takes run %d of e%d, epoch %d%s", (int)database_run_number(run), run->export,
          (int)run->epoch, run->planned ? ", planned" : "");
}

/* ---- the task ---- */

static char *name_of(char letter, int number)
{
    char *name;
    int len = asprintf(&name, "%c%d", letter, number);

    assert(len > 0);
    return name;
}

static struct run_resume resume_of(const struct run_row *run)
{
    return (struct run_resume){
        .idle_ms = run->idle_ms,
        .planned = run->planned,
        .members = run_counts_members(&run->counts),
        .invalid = run->counts.invalid,
        .left = run->counts.left,
        .there = run->counts.there,
        .attempts = run->attempts,
        .wait_reason = run->wait_reason,
        .trouble = run->attempts > 0 && *run->trouble ? strdup(run->trouble) : NULL,
        .wait_logged_ms = fiber_now_ms() - run->wait_logged_ms,
    };
}

static void fill_export(int export, struct run_task *task)
{
    const struct export_row *x = &database.exports[export];

    task->export_id = export + 1;
    task->max_profiles = 100000;
    task->guards = (struct guard_rules){ .max_invalid_percent = 20, .last_distinct = -1 };
    task->email_field = strdup("email");
    task->connection_id = x->account + 1;
    task->list_known = x->list_known;
    task->removes_leavers = x->removes_leavers;
    task->account_known = true;
    task->export_name = name_of('e', export);
    task->connection_name = name_of('c', x->account);
    task->list_id = name_of('L', x->list);
    task->account = name_of('c', x->account);
    task->sealed_key =
        (unsigned char *)name_of((char)('0' + x->account), database.accounts[x->account].key);
    task->sealed_key_len = strlen((const char *)task->sealed_key);
    task->fields = calloc(1, sizeof *task->fields);
    assert(task->fields);
    task->fields[0].name = strdup(export_attributes[export]);
    task->n_fields = 1;
}

static struct run_task *new_task(const struct run_row *run, bool taken_over)
{
    struct run_task *task = calloc(1, sizeof *task);

    assert(task);
    *task = (struct run_task){ .run_id = database_run_number(run),
                               .epoch = run->epoch,
                               .taken_over = taken_over,
                               .full = run->full,
                               .removed = run->removed,
                               .first_batch = run->first_batch,
                               .resume = resume_of(run) };
    (void)snprintf(task->take_id, sizeof task->take_id, "%s", run->take);
    fill_export(run->export, task);
    task->guards.passed = run->posted;
    return task;
}

void run_task_free(struct run_task *task)
{
    if (!task)
        return;
    for (size_t i = 0; i < task->n_fields; i++)
        free(task->fields[i].name);
    free(task->fields);
    free(task->export_name);
    free(task->connection_name);
    free(task->list_id);
    free(task->account);
    free(task->email_field);
    free(task->resume.trouble);
    free(task->sealed_key);
    free(task);
}

/* The take is one statement, and what its export says another. */
static bool load_task(struct db *db, const struct run_row *run, bool taken_over,
                      struct run_taken *taken, struct error *err)
{
    char take_id[TAKE_ID_BYTES];

    (void)snprintf(take_id, sizeof take_id, "%s", run->take);
    if (!statement_is_answered(db, err) || !statement_arrives(db, err))
        return false;
    if (run->state != RUN_RUNNING || strcmp(run->take, take_id) != 0)
        return statement_is_refused(db, err);
    struct run_task *loaded = new_task(run, taken_over);
    if (!statement_is_answered(db, err)) {
        run_task_free(loaded);
        return false;
    }
    taken->task = loaded;
    return true;
}

static void close_instead(struct run_row *run, enum run_state state, enum run_reason reason,
                          struct run_closed *closed)
{
    database_close_run(run, state, reason);
    *closed = (struct run_closed){ .run_id = database_run_number(run),
                                   .state = run->state,
                                   .reason = reason };
}

bool runs_take(struct db *db, const struct run_taker *taker, struct run_taken *taken,
               struct error *err)
{
    enum run_state state;
    enum run_reason reason;

    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = choose(taker->recover);
    taken->what = !run                                 ? RUN_TAKE_NONE
                  : has_obstacle(run, &state, &reason) ? RUN_TAKE_CLOSED
                                                       : RUN_TAKE_TASK;
    if (taken->what == RUN_TAKE_CLOSED)
        close_instead(run, state, reason, &taken->closed);
    if (taken->what != RUN_TAKE_TASK)
        return statement_is_answered(db, err);
    bool taken_over = run->state == RUN_RUNNING;
    take(run, taker);
    return load_task(db, run, taken_over, taken, err);
}

bool runs_count_blocked(struct db *db, int64_t key_pair_id UNUSED, int64_t *runs, struct error *err)
{
    *runs = 0;
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool key_pairs_note_waiting(struct db *db, int64_t own UNUSED, const char *worker UNUSED,
                            int64_t *runs, struct error *err)
{
    *runs = 0;
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

/* ---- the life of a run ---- */

static void beat(struct run_row *run, const struct run_heartbeat *beat)
{
    run->lease_until_ms = fiber_now_ms() + beat->lease_ms;
    run->idle_ms = beat->idle_ms;
    if (beat->progress)
        run->takes_without_progress = 0;
    run->wait_reason = beat->wait_reason;
    if (beat->wait_logged)
        run->wait_logged_ms = fiber_now_ms();
}

bool runs_heartbeat(struct db *db, const struct run_task *task,
                    const struct run_heartbeat *heartbeat, char **cancelled_by, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run)
        return statement_is_refused(db, err);
    beat(run, heartbeat);
    bool cancelled = run->cancelled;
    if (!statement_is_answered(db, err))
        return false;
    *cancelled_by = cancelled ? strdup("somebody") : NULL;
    return true;
}

/* A fenced statement that changes nothing that matters here. */
static bool is_owned(struct db *db, const struct run_task *task, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    return database_owned(task) ? statement_is_answered(db, err) : statement_is_refused(db, err);
}

bool runs_begin_plan_send(struct db *db, const struct run_task *task,
                          const int32_t backends[PLAN_BACKENDS] UNUSED, struct error *err)
{
    struct run_task *pending = malloc(sizeof *pending);

    assert(pending);
    *pending = (struct run_task){ .run_id = task->run_id };
    (void)snprintf(pending->take_id, sizeof pending->take_id, "%s", task->take_id);
    free(*connection_pending(db));
    *connection_pending(db) = pending;
    return db_is_up(db) || error_set(err, ERROR_RETRY, "the connection is gone");
}

bool runs_begin_plan_await(struct db *db, struct error *err)
{
    return is_owned(db, *connection_pending(db), err);
}

bool rejections_keep_words(struct db *db, const struct run_task *task, const char *code UNUSED,
                           const char *detail UNUSED, struct error *err)
{
    return is_owned(db, task, err);
}

/* Rows that an earlier pass of this run planned, and that it took off the list since. */
static void count_forgotten(struct run_row *run)
{
    int64_t missing = run->accepted + run->rejected - run->counts.selected;

    for (int64_t i = 1; i <= database.n_batches; i++)
        if (database.batches[i].run == database_run_number(run) &&
            (database.batches[i].state == BATCH_PLANNED || database.batches[i].state == BATCH_SENT))
            missing += database.batches[i].n_rows;
    if (missing <= 0)
        return;
    run->counts.selected += missing;
    run->counts.read += missing;
}

bool runs_end_plan(struct db *db, const struct run_task *task, const struct run_counts *counts,
                   struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run)
        return statement_is_refused(db, err);
    run->planned = true;
    run->plan_epoch = run->epoch;
    run->counts = *counts;
    count_forgotten(run);
    return statement_is_answered(db, err);
}

static bool has_unfinished(int64_t run)
{
    for (int64_t i = 1; i <= database.n_batches; i++)
        if (database.batches[i].run == run &&
            (database.batches[i].state == BATCH_PLANNED || database.batches[i].state == BATCH_SENT))
            return true;
    return false;
}

static void fill_record(const struct run_row *run, struct run_record *record)
{
    *record = (struct run_record){ .state = run->state,
                                   .counts = run->counts,
                                   .accepted = run->accepted,
                                   .rejected = run->rejected,
                                   .removed = run->removed,
                                   .reason = run->reason };
}

/* Every row that was planned has come to exactly one end. */
static void check_counts(const struct run_row *run)
{
    must(run->counts.selected == run->accepted + run->rejected,
         "run %d succeeded: %d rows selected, %d accepted, %d rejected",
         (int)database_run_number(run), (int)run->counts.selected, (int)run->accepted,
         (int)run->rejected);
}

bool runs_end(struct db *db, const struct run_task *task, const struct run_ending *ending,
              struct run_record *record, struct error *err)
{
    *record = (struct run_record){ .state = RUN_RUNNING };
    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run)
        return statement_is_refused(db, err);
    if (ending->state == RUN_SUCCEEDED && (!run->planned || has_unfinished(task->run_id)))
        return statement_is_answered(db, err);
    if (ending->state == RUN_SUCCEEDED)
        check_counts(run);
    database_close_run(run, ending->state, ending->reason);
    fill_record(run, record);
    return statement_is_answered(db, err);
}

bool runs_read_ended(struct db *db, const struct run_task *task, struct run_record *record,
                     struct error *err)
{
    const struct run_row *run = &database.runs[task->run_id];

    *record = (struct run_record){ .state = RUN_RUNNING };
    if (!statement_arrives(db, err))
        return false;
    if (run_state_is_end(run->state) && strcmp(run->last_take, task->take_id) == 0)
        fill_record(run, record);
    return statement_is_answered(db, err);
}

bool runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                    struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run)
        return statement_is_refused(db, err);
    trace("run %d is given back", (int)task->run_id);
    if (how != RUN_MISTAKEN && run->takes_without_progress > 0)
        run->takes_without_progress--;
    run->lease_until_ms = fiber_now_ms() + (how == RUN_DRAINED ? 0 : GIVE_BACK_PAUSE_MS);
    return statement_is_answered(db, err);
}

bool runs_park(struct db *db, const struct run_task *task, const struct run_parking *parking,
               struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct run_row *run = database_owned(task);
    if (!run || run->cancelled)
        return statement_is_refused(db, err);
    trace("run %d is parked for %d ms", (int)task->run_id, (int)parking->park_ms);
    run->lease_until_ms = fiber_now_ms();
    run->parked_until_ms = fiber_now_ms() + parking->park_ms;
    run->planned = run->planned && !parking->plan_again;
    run->idle_ms += parking->idle_ms;
    run->attempts = parking->attempts;
    (void)snprintf(run->trouble, sizeof run->trouble, "%s", parking->trouble);
    return statement_is_answered(db, err);
}

bool runs_mark_attention(struct db *db, const struct run_task *task, enum run_reason reason UNUSED,
                         bool *marked, struct error *err)
{
    struct account_row *account = &database.accounts[task->connection_id - 1];

    if (!statement_arrives(db, err))
        return false;
    *marked = account->key == task->sealed_key[1] - '0';
    account->needs_attention = account->needs_attention || *marked;
    for (int64_t i = 1; *marked && i <= database.n_runs; i++)
        if (database.runs[i].state == RUN_QUEUED &&
            database.exports[database.runs[i].export].account + 1 == task->connection_id)
            database_close_run(&database.runs[i], RUN_FAILED, REASON_CONNECTION_NEEDS_ATTENTION);
    return statement_is_answered(db, err);
}

/* Nobody reads it here. */
bool account_plan_note(struct db *db, const char *account UNUSED, int64_t used UNUSED,
                       int64_t maximum UNUSED, struct error *err)
{
    return statement_arrives(db, err) && statement_is_answered(db, err);
}

bool runs_store_list_name(struct db *db, const struct run_task *task, const char *name UNUSED,
                          struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    database.exports[task->export_id - 1].list_known = true;
    return statement_is_answered(db, err);
}
