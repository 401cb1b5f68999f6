#include "worker/store/runs.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/failpoint.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

enum { GIVE_BACK_PAUSE_MS = 2000 };

static const char take_sql[] =
    "select run_id, take_id, epoch, export_id, taken_over, closed"
    " from klaviyo.take_run_by_id($1, $2::bigint, $3::integer, $4::boolean,"
    " $5::boolean)";

/* Free rows are locked for as long as the statement takes: only skipped ones are shown. */
static const char blocked_sql[] =
    "with passed as materialized (select r.run_id from klaviyo.run r"
    " join klaviyo.export x using (export_id)"
    " join klaviyo.connection_key k using (connection_id)"
    " where r.state = 'queued' and k.key_pair_id = $1::integer"
    " and r.queued_at < clock_timestamp() - interval '2 s'"
    " and not exists (select from klaviyo.run o"
    " where o.export_id = r.export_id and o.state = 'running') order by r.run_id limit 100),"
    " free as materialized (select r.run_id from klaviyo.run r"
    " join klaviyo.export x using (export_id)"
    " where r.run_id in (select run_id from passed)"
    " for no key update of r skip locked for key share of x skip locked)"
    " select (select count(*) from passed) - (select count(*) from free)";

static const char heartbeat_sql[] =
    "update klaviyo.run set"
    " lease_until = clock_timestamp() + $3::bigint * interval '1 ms',"
    " lease_renewed_at = clock_timestamp(),"
    " waiting_until = case when $4::bigint > 0"
    "                 then clock_timestamp() + $4::bigint * interval '1 ms' end,"
    " idle_ms = $5, takes_without_progress = case when $6 then 0 else takes_without_progress end,"
    " read_rows = case when planned then read_rows else $7 end,"
    " invalid_rows = case when planned then invalid_rows else $8 end,"
    " duplicate_rows = case when planned then duplicate_rows else $9 end,"
    " unchanged_rows = case when planned then unchanged_rows else $10 end,"
    " selected_rows = case when planned then selected_rows else $11 end,"
    " requests = requests + $12, throttled = throttled + $13, retries = retries + $14,"
    " wait_since = case when wait_reason = $15 then wait_since"
    "              when $15::text is not null then clock_timestamp() end,"
    " wait_reason = $15, wait_detail = $16,"
    " wait_logged_at = case when $17::boolean then clock_timestamp() else wait_logged_at end"
    " where run_id = $1 and take_id = $2::uuid returning cancelled_by";

static const char begin_plan_sql[] =
    "with noted as (update klaviyo.run set backends = backends || array[$3::integer, $4::integer]"
    " where run_id = $1 and take_id = $2::uuid returning run_id, epoch),"
    " forgotten as (delete from klaviyo.rejection j using noted n"
    " where j.run_id = n.run_id and j.stage = 'local' and j.epoch < n.epoch)"
    " select run_id from noted";

static const char end_plan_sql[] =
    "update klaviyo.run set planned = true, read_rows = $3, invalid_rows = $4,"
    " duplicate_rows = $5, unchanged_rows = $6, selected_rows = $7, left_rows = $8,"
    " kept_rows = $8 - removed_rows, there_rows = $9, not_cleared_rows = $10, member_rows = $11,"
    " plan_epoch = epoch, address_changes = $12"
    " where run_id = $1 and take_id = $2::uuid returning run_id";

/* Reads the whole ledger of the export: never while the row of its run is locked. */
static const char address_changes_sql[] = "select klaviyo.address_changes($1)";

#define RECORD_COLUMNS                                                                    \
    " r.read_rows, r.invalid_rows, r.duplicate_rows, r.unchanged_rows, r.selected_rows,"  \
    " r.left_rows, r.accepted_rows, r.rejected_rows, r.requests, r.throttled, r.retries," \
    " r.removed_rows"

/* Its counts stood before: the end changes none of them. */
static const char end_sql[] =
    "select e.state," RECORD_COLUMNS " from klaviyo.end_run($1, $2::uuid, $3, $4, $5) as e (state)"
    " left join klaviyo.run r on r.run_id = $1";

/* The end takes the run from its owner: see klaviyo.close_run(). */
static const char ended_sql[] =
    "select r.state," RECORD_COLUMNS ", r.reason, r.detail from klaviyo.run r where r.run_id = $1"
    " and r.last_take_id = $2::uuid"
    " and r.finished_at is not null";

static const char closed_sql[] =
    "select export_name, state, reason from klaviyo.run where run_id = $1";

static const char give_back_sql[] =
    "update klaviyo.run set backends = '{}',"
    " takes_without_progress = case when $4::boolean then greatest(takes_without_progress - 1, 0)"
    " else takes_without_progress end,"
    " lease_until = clock_timestamp() + $3::bigint * interval '1 ms',"
    " lease_renewed_at = clock_timestamp(),"
    " wait_reason = case when $5::boolean then 'database_unavailable' end,"
    " wait_since = case when $5::boolean then clock_timestamp() end,"
    " wait_detail = case when $5::boolean then 'the database, or memory, was not available to its"
    " worker, whose log says more; it continues as soon as a worker takes it' end"
    " where run_id = $1 and take_id = $2::uuid returning run_id";

static const char park_sql[] =
    "update klaviyo.run set backends = '{}', lease_until = clock_timestamp(),"
    " lease_renewed_at = clock_timestamp(),"
    " parked_until = clock_timestamp() + $3::bigint * interval '1 ms',"
    " waiting_until = clock_timestamp() + $3::bigint * interval '1 ms',"
    " idle_ms = idle_ms + $4, attempts = $5, trouble = nullif($6, ''),"
    " planned = planned and not $7::boolean"
    " where run_id = $1 and take_id = $2::uuid and cancelled_by is null returning run_id";

static const char attention_sql[] = "select klaviyo.mark_attention($1, $2, $3::bytea)";

/* Not behind the fence: a change of the export locks it before the run. */
static const char list_name_sql[] = "update klaviyo.export set list_name = $2,"
                                    " list_checked_at = now() where export_id = $1"
                                    " and list_id = $3 and connection_id = $4";

static bool query_take(struct db *db, const struct run_taker *taker, PGresult **rows,
                       struct error *err)
{
    struct args args = ARGS_INIT;

    args_text(&args, taker->worker);
    args_int64(&args, taker->lease_ms);
    args_int64(&args, taker->key_pair_id);
    args_bool(&args, taker->recover);
    args_bool(&args, taker->short_only);
    return FAILPOINT_AROUND("take", db_query(db, take_sql, &args, rows, err));
}

static bool read_closed(struct db *db, int64_t run_id, struct run_closed *closed, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, run_id);
    if (!db_query(db, closed_sql, &args, &rows, err))
        return false;
    *closed = (struct run_closed){ .run_id = run_id, .state = RUN_CANCELLED };
    if (result_rows(rows) == 0) /* by retention, at once: it was old */
        return true;
    (void)snprintf(closed->export_name, sizeof closed->export_name, "%s", result_text(rows, 0, 0));
    (void)run_state_of(result_text(rows, 0, 1), &closed->state);
    closed->reason = run_reason_of(result_text(rows, 0, 2));
    return true;
}

static struct run_task *task_of(const PGresult *rows)
{
    struct run_task *task = calloc(1, sizeof *task);

    if (!task)
        return NULL;
    task->run_id = result_int64(rows, 0, 0);
    (void)snprintf(task->take_id, sizeof task->take_id, "%s", result_text(rows, 0, 1));
    task->epoch = (int32_t)result_int64(rows, 0, 2);
    task->export_id = result_int64(rows, 0, 3);
    task->taken_over = result_bool(rows, 0, 4);
    return task;
}

static bool read_taken(struct db *db, const PGresult *rows, struct run_taken *taken,
                       struct error *err)
{
    CLEANUP(run_task_freep) struct run_task *task = NULL;

    if (result_bool(rows, 0, 5)) {
        taken->what = RUN_TAKE_CLOSED;
        return read_closed(db, result_int64(rows, 0, 0), &taken->closed, err);
    }
    task = task_of(rows);
    if (!task)
        return error_no_memory(err);
    if (!run_task_load(db, task, err))
        return false;
    taken->what = RUN_TAKE_TASK;
    taken->task = run_task_take(&task);
    return true;
}

bool runs_take(struct db *db, const struct run_taker *taker, struct run_taken *taken,
               struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct run_taken read = { .what = RUN_TAKE_NONE };

    if (!query_take(db, taker, &rows, err) ||
        (result_rows(rows) > 0 && !read_taken(db, rows, &read, err)))
        return false;
    *taken = read;
    return true;
}

bool runs_count_blocked(struct db *db, int64_t key_pair_id, int64_t *runs, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, key_pair_id);
    if (!db_query(db, blocked_sql, &args, &rows, err))
        return error_wrap(err, "looking for runs that are locked");
    *runs = result_int64(rows, 0, 0);
    return true;
}

bool runs_heartbeat(struct db *db, const struct run_task *task,
                    const struct run_heartbeat *heartbeat, char **cancelled_by, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, heartbeat->lease_ms);
    args_int64(&args, heartbeat->waiting_ms);
    args_int64(&args, heartbeat->idle_ms);
    args_bool(&args, heartbeat->progress);
    args_int64(&args, heartbeat->counts.read);
    args_int64(&args, heartbeat->counts.invalid);
    args_int64(&args, heartbeat->counts.duplicate);
    args_int64(&args, heartbeat->counts.unchanged);
    args_int64(&args, heartbeat->counts.selected);
    args_int64(&args, heartbeat->requests);
    args_int64(&args, heartbeat->throttled);
    args_int64(&args, heartbeat->retries);
    args_text(&args, run_reason_name(heartbeat->wait_reason));
    args_text(&args, heartbeat->wait_detail);
    args_bool(&args, heartbeat->wait_logged);
    return FAILPOINT_AROUND("beat", db_fenced(db, heartbeat_sql, &args, &rows, err)) &&
           result_copy_text(rows, 0, 0, cancelled_by, err);
}

bool runs_begin_plan_send(struct db *db, const struct run_task *task,
                          const int32_t backends[PLAN_BACKENDS], struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    for (int i = 0; i < PLAN_BACKENDS; i++)
        args_int64(&args, backends[i]);
    return db_send(db, begin_plan_sql, &args, err);
}

bool runs_begin_plan_await(struct db *db, struct error *err)
{
    return db_fenced_await(db, err);
}

static bool count_address_changes(struct db *db, int64_t export_id, int64_t *changes,
                                  struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, export_id);
    if (!db_query(db, address_changes_sql, &args, &rows, err))
        return false;
    *changes = result_int64(rows, 0, 0);
    return true;
}

/*
 * They are counted before: an update that meets a heartbeat's works out its values again, with
 * the row locked, and the heartbeat after it waits until the lease is over.
 */
bool runs_end_plan(struct db *db, const struct run_task *task, const struct run_counts *counts,
                   struct error *err)
{
    struct args args = ARGS_INIT;
    int64_t address_changes = 0;

    if (counts->left > 0 && !count_address_changes(db, task->export_id, &address_changes, err))
        return false;
    args_fence(&args, task);
    args_int64(&args, counts->read);
    args_int64(&args, counts->invalid);
    args_int64(&args, counts->duplicate);
    args_int64(&args, counts->unchanged);
    args_int64(&args, counts->selected);
    args_int64(&args, counts->left);
    args_int64(&args, counts->there);
    args_int64(&args, counts->not_cleared);
    args_int64(&args, run_counts_members(counts));
    args_int64(&args, address_changes);
    return FAILPOINT_AROUND("end_plan", db_fenced(db, end_plan_sql, &args, NULL, err));
}

static void read_record(const PGresult *rows, struct run_record *record)
{
    bool known = run_state_of(result_text(rows, 0, 0), &record->state);

    assert(known && "a state that the schema does not know");
    record->counts = (struct run_counts){ .read = result_int64(rows, 0, 1),
                                          .invalid = result_int64(rows, 0, 2),
                                          .duplicate = result_int64(rows, 0, 3),
                                          .unchanged = result_int64(rows, 0, 4),
                                          .selected = result_int64(rows, 0, 5),
                                          .left = result_int64(rows, 0, 6) };
    record->accepted = result_int64(rows, 0, 7);
    record->rejected = result_int64(rows, 0, 8);
    record->requests = result_int64(rows, 0, 9);
    record->throttled = result_int64(rows, 0, 10);
    record->retries = result_int64(rows, 0, 11);
    record->removed = result_int64(rows, 0, 12);
}

bool runs_end(struct db *db, const struct run_task *task, const struct run_ending *ending,
              struct run_record *record, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    *record = (struct run_record){ .state = RUN_RUNNING };
    args_fence(&args, task);
    args_text(&args, run_state_name(ending->state));
    args_text(&args, run_reason_name(ending->reason));
    args_text(&args, ending->detail);
    if (!FAILPOINT_AROUND("end_run", db_query(db, end_sql, &args, &rows, err)))
        return false;
    const char *state = result_text(rows, 0, 0);
    if (strcmp(state, "lost") == 0)
        return error_lost(err);
    if (strcmp(state, "unfinished") != 0)
        read_record(rows, record);
    return true;
}

bool runs_read_ended(struct db *db, const struct run_task *task, struct run_record *record,
                     struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    *record = (struct run_record){ .state = RUN_RUNNING };
    args_fence(&args, task);
    if (!db_query(db, ended_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return true;
    read_record(rows, record);
    record->reason = run_reason_of(result_text(rows, 0, 13));
    const char *detail = result_text(rows, 0, 14);
    (void)snprintf(record->detail, sizeof record->detail, "%s", detail ? detail : "");
    return true;
}

bool runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                    struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, how == RUN_DRAINED ? 0 : GIVE_BACK_PAUSE_MS);
    args_bool(&args, how != RUN_MISTAKEN);
    args_bool(&args, how == RUN_TROUBLED);
    return db_fenced(db, give_back_sql, &args, NULL, err);
}

bool runs_park(struct db *db, const struct run_task *task, const struct run_parking *parking,
               struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, parking->park_ms);
    args_int64(&args, parking->idle_ms);
    args_int64(&args, parking->attempts);
    args_text(&args, parking->trouble);
    args_bool(&args, parking->plan_again);
    return FAILPOINT_AROUND("park", db_fenced(db, park_sql, &args, NULL, err));
}

bool runs_mark_attention(struct db *db, const struct run_task *task, enum run_reason reason,
                         bool *marked, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, task->connection_id);
    args_text(&args, run_reason_name(reason));
    args_bytes(&args, task->sealed_key, task->sealed_key_len);
    if (!db_query(db, attention_sql, &args, &rows, err))
        return false;
    *marked = result_bool(rows, 0, 0);
    return true;
}

bool runs_store_list_name(struct db *db, const struct run_task *task, const char *name,
                          struct error *err)
{
    struct args args = ARGS_INIT;

    args_int64(&args, task->export_id);
    args_text(&args, name);
    args_text(&args, task->list_id);
    args_int64(&args, task->connection_id);
    return db_query(db, list_name_sql, &args, NULL, err);
}
