#include "worker/store/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "common/failpoint.h"
#include "worker/store/fence.h"
#include "worker/store/statement.h"

#define PLAN_BATCH                                                                            \
    "with " FENCE ", batch as ("                                                              \
    " insert into klaviyo.batch (export_id, run_id, row_count, profile_ids, body, with_list)" \
    " select export_id, run_id, $3, $4::text[], $5::bytea, $6::boolean from fence"            \
    " returning batch_id, export_id), ledger as ("

static const char plan_sql[] = PLAN_BATCH
    " insert into klaviyo.ledger"
    " (export_id, address, fingerprint, batch_id, listed, filled, profile_id)"
    " select b.export_id, u.address, u.fingerprint, b.batch_id, u.listed, u.filled, u.profile_id"
    " from batch b, unnest($7::text[], $8::bigint[], $9::bigint[], $4::text[], $10::boolean[])"
    " as u(address, fingerprint, filled, profile_id, listed)"
    " on conflict (export_id, address) do update"
    " set fingerprint = excluded.fingerprint, batch_id = excluded.batch_id,"
    " listed = ledger.listed or excluded.listed, profile_id = excluded.profile_id,"
    " filled = excluded.filled, left_run = null, left_epoch = null, removing = false,"
    " perhaps_listed = ledger.perhaps_listed or ledger.removing or exists ("
    "  select from klaviyo.batch o where o.batch_id = ledger.batch_id"
    "  and (o.state in ('sent', 'unresolved') or o.state = 'planned' and o.posted_at is not null)))"
    " select batch_id from batch";

/* Looking for a conflict costs PostgreSQL half as much again as the rows themselves. */
static const char plan_new_sql[] = PLAN_BATCH
    " insert into klaviyo.ledger (export_id, address, fingerprint, batch_id, filled, profile_id)"
    " select b.export_id, u.address, u.fingerprint, b.batch_id, u.filled, u.profile_id"
    " from batch b, unnest($7::text[], $8::bigint[], $9::bigint[], $4::text[])"
    " as u(address, fingerprint, filled, profile_id))"
    " select batch_id from batch";

/* By the take, too: run numbers repeat where the database was set back to a copy. */
#define OWN_BATCHES                                           \
    " from klaviyo.batch b join klaviyo.run r using (run_id)" \
    " where run_id = $1 and r.take_id = $2::uuid"

static const char planned_sql[] =
    "select batch_id, row_count, octet_length(body), job_id, posted_at is not null,"
    " with_list" OWN_BATCHES
    " and b.state = 'planned' and b.batch_id <> all ($3::bigint[]) order by batch_id limit $4";

static const char sent_sql[] =
    "select batch_id, row_count, octet_length(body), job_id, false, with_list" OWN_BATCHES
    " and b.state = 'sent' order by batch_id";

static const char body_sql[] =
    "select body" OWN_BATCHES " and b.batch_id = $3 and body is not null";

static const char mark_posted_sql[] =
    "with " FENCE " update klaviyo.batch b set posted_at = clock_timestamp()"
    " from fence f where b.batch_id = $3 and b.run_id = f.run_id and b.state = 'planned'"
    " returning b.batch_id";

static const char mark_unposted_sql[] =
    "with " FENCE " update klaviyo.batch b set posted_at = null"
    " from fence f where b.batch_id = $3 and b.run_id = f.run_id and b.state = 'planned'"
    " returning b.batch_id";

static const char mark_sent_sql[] =
    "with " FENCE ", marked as ("
    " update klaviyo.batch b set state = 'sent', job_id = $4, sent_at = now()"
    " from fence f where b.batch_id = $3 and b.run_id = f.run_id and b.state = 'planned'"
    " returning b.batch_id)"
    " select batch_id, case when $5::boolean"
    "                  then klaviyo.keep_late_job(batch_id, null, false) end from marked";

static const char send_again_sql[] =
    "with " FENCE ", planned as ("
    " update klaviyo.batch b set state = 'planned', job_id = null, sent_at = null"
    " from fence f where b.batch_id = $3 and b.run_id = f.run_id and b.state = 'sent'"
    " returning b.batch_id)"
    " select batch_id, case when $4::text is not null"
    "                  then klaviyo.keep_late_job(batch_id, $4, true) end from planned";

static const char confirm_sql[] =
    "with " FENCE ", batch as ("
    " update klaviyo.batch b set state = case when $7::bigint > 0 then 'unresolved'"
    " else 'complete' end, body = null, profile_ids = null"
    " from fence f, klaviyo.batch old"
    " where b.batch_id = $3 and old.batch_id = b.batch_id and b.run_id = f.run_id"
    " and b.state = 'sent' returning b.batch_id, b.export_id, b.run_id, b.row_count,"
    " old.profile_ids, f.epoch),"
    " refused as ("
    " update klaviyo.ledger l set rejected_batch = b.batch_id"
    " from batch b, unnest($4::text[]) as u(address)"
    " where l.export_id = b.export_id and l.address = u.address collate \"C\"),"
    " named as ("
    " insert into klaviyo.rejection (run_id, epoch, stage, email, profile_id, code, detail)"
    " select b.run_id, b.epoch, 'import', u.address, b.profile_ids[u.position], u.code,"
    " u.detail from batch b, unnest($4::text[], $5::text[], $6::text[], $10::integer[])"
    " as u(address, code, detail, position)),"
    " unidentified as ("
    " insert into klaviyo.rejection (run_id, epoch, stage, code, detail)"
    " select b.run_id, b.epoch, 'import', u.code, u.detail"
    " from batch b, unnest($8::text[], $9::text[]) as u(code, detail)),"
    " counted as ("
    " update klaviyo.run r set takes_without_progress = 0,"
    " accepted_rows = accepted_rows + b.row_count - cardinality($4::text[]) - $7::bigint,"
    " rejected_rows = rejected_rows + cardinality($4::text[]) + $7::bigint"
    " from batch b where r.run_id = b.run_id)"
    " select batch_id from batch";

/* First what is remembered of the whole: its rows are known by the batch that they are of. */
static const char split_sql[] =
    "with " FENCE ", kept as materialized (select case when $10::boolean"
    " then klaviyo.keep_late_job($3, null, false) end from fence)"
    " select klaviyo.split_batch($1, $2::uuid, $3, $4::text[], $5::integer[], $6::integer[],"
    " $7::integer[], $8::text[], $9::text[]) from kept";

static bool close_rows(struct batch_rows *rows)
{
    return binary_array_close(&rows->addresses) && binary_array_close(&rows->fingerprints) &&
           binary_array_close(&rows->profile_ids) && binary_array_close(&rows->listed) &&
           binary_array_close(&rows->filled);
}

static void add_array(struct args *args, const struct binary_array *array)
{
    args_bytes(args, array->bytes.data, array->bytes.len);
}

/* A row that was unknown when the ledger was read, and is there now: it must be read again. */
static bool plan_failed(const struct db *db, struct error *err)
{
    if (strcmp(db_sqlstate(db), "23505") == 0)
        err->kind = ERROR_RETRY;
    return false;
}

bool outbox_plan_begin(struct db *db, const struct run_task *task, struct batch_rows *rows,
                       const struct outbox_plan *plan, struct error *err)
{
    struct args args = ARGS_INIT;
    bool all_new = rows->n_known == 0;

    if (!close_rows(rows))
        return error_no_memory(err);
    args_fence(&args, task);
    args_int64(&args, (int64_t)rows->n);
    add_array(&args, &rows->profile_ids);
    args_bytes(&args, plan->body->data, plan->body->len);
    args_bool(&args, plan->names_list);
    add_array(&args, &rows->addresses);
    add_array(&args, &rows->fingerprints);
    add_array(&args, &rows->filled);
    if (!all_new)
        add_array(&args, &rows->listed);
    FAILPOINT("plan_batch.before");
    return db_send(db, all_new ? plan_new_sql : plan_sql, &args, err);
}

bool outbox_plan_end(struct db *db, struct error *err)
{
    bool ok = db_fenced_await(db, err) || plan_failed(db, err);

    FAILPOINT("plan_batch.after");
    return ok;
}

void outbox_batches_release(struct outbox_batches *batches)
{
    for (size_t i = 0; i < batches->n; i++)
        free(batches->items[i].job_id);
    free(batches->items);
    *batches = (struct outbox_batches){ .n = 0 };
}

static bool read_batch(const PGresult *rows, int row, struct outbox_batch *batch)
{
    const char *job_id = result_text(rows, row, 3);

    *batch = (struct outbox_batch){ .batch_id = result_int64(rows, row, 0),
                                    .rows = (int32_t)result_int64(rows, row, 1),
                                    .bytes = result_int64(rows, row, 2),
                                    .job_id = job_id ? strdup(job_id) : NULL,
                                    .posted = result_bool(rows, row, 4),
                                    .names_list = result_bool(rows, row, 5) };
    return batch->job_id || !job_id;
}

static bool read_each(const PGresult *rows, struct outbox_batches *batches, struct error *err)
{
    size_t n = (size_t)result_rows(rows);

    batches->items = calloc(n + 1, sizeof *batches->items);
    if (!batches->items)
        return error_no_memory(err);
    for (; batches->n < n; batches->n++)
        if (!read_batch(rows, (int)batches->n, &batches->items[batches->n]))
            return error_no_memory(err);
    return true;
}

static bool read_batches(const PGresult *rows, struct outbox_batches *batches, struct error *err)
{
    CLEANUP(outbox_batches_release) struct outbox_batches read = { .n = 0 };

    if (!read_each(rows, &read, err))
        return false;
    *batches = read;
    read = (struct outbox_batches){ .n = 0 };
    return true;
}

bool outbox_planned(struct db *db, const struct run_task *task, const struct outbox_window *window,
                    struct outbox_batches *batches, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    CLEANUP(strbuf_release) struct strbuf ids = { 0 };
    struct args args = ARGS_INIT;

    array_init(&ids);
    for (size_t i = 0; i < window->n_held; i++)
        array_int64(&ids, window->held[i]);
    args_fence(&args, task);
    if (!args_close_array(&args, &ids, err))
        return false;
    args_int64(&args, window->max);
    return db_query(db, planned_sql, &args, &rows, err) && read_batches(rows, batches, err);
}

bool outbox_sent(struct db *db, const struct run_task *task, struct outbox_batches *batches,
                 struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    return db_query(db, sent_sql, &args, &rows, err) && read_batches(rows, batches, err);
}

bool outbox_body(struct db *db, const struct run_task *task, int64_t batch_id, struct strbuf *body,
                 struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, batch_id);
    if (!db_query_binary(db, body_sql, &args, &rows, err))
        return false;
    if (result_rows(rows) == 0)
        return error_lost(err);
    strbuf_add(body, PQgetvalue(rows, 0, 0), (size_t)PQgetlength(rows, 0, 0));
    return strbuf_ok(body) || error_no_memory(err);
}

bool outbox_mark_posted(struct db *db, const struct run_task *task, int64_t batch_id,
                        struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, batch_id);
    return db_fenced(db, mark_posted_sql, &args, NULL, err);
}

bool outbox_mark_unposted(struct db *db, const struct run_task *task, int64_t batch_id,
                          struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, batch_id);
    return db_fenced(db, mark_unposted_sql, &args, NULL, err);
}

bool outbox_mark_sent(struct db *db, const struct run_task *task, int64_t batch_id,
                      const struct outbox_job *job, struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, batch_id);
    args_text(&args, job->job_id);
    args_bool(&args, job->unanswered);
    return FAILPOINT_AROUND("mark_sent", db_fenced(db, mark_sent_sql, &args, NULL, err));
}

bool outbox_send_again(struct db *db, const struct run_task *task, int64_t batch_id,
                       const char *late_job, struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, batch_id);
    args_text(&args, late_job);
    return FAILPOINT_AROUND("send_again", db_fenced(db, send_again_sql, &args, NULL, err));
}

bool outbox_confirm(struct db *db, const struct run_task *task, int64_t batch_id,
                    struct refused_rows *refused, struct error *err)
{
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, batch_id);
    if (!args_close_array(&args, &refused->addresses, err) ||
        !args_close_array(&args, &refused->codes, err) ||
        !args_close_array(&args, &refused->details, err))
        return false;
    args_int64(&args, refused->unidentified);
    return args_close_array(&args, &refused->unidentified_codes, err) &&
           args_close_array(&args, &refused->unidentified_details, err) &&
           args_close_array(&args, &refused->positions, err) &&
           FAILPOINT_AROUND("confirm", db_fenced(db, confirm_sql, &args, NULL, err));
}

void outbox_split_init(struct outbox_split *split, int64_t batch_id)
{
    split->batch_id = batch_id;
    split->unanswered = false;
    array_init(&split->addresses);
    array_init(&split->parts);
    array_init(&split->offsets);
    array_init(&split->lengths);
    array_init(&split->codes);
    array_init(&split->details);
}

void outbox_split_release(struct outbox_split *split)
{
    strbuf_release(&split->addresses);
    strbuf_release(&split->parts);
    strbuf_release(&split->offsets);
    strbuf_release(&split->lengths);
    strbuf_release(&split->codes);
    strbuf_release(&split->details);
}

void outbox_split_add(struct outbox_split *split, const struct outbox_split_row *row)
{
    array_text(&split->addresses, row->address.at, row->address.n);
    array_int64(&split->parts, row->part);
    array_int64(&split->offsets, (int64_t)row->offset);
    array_int64(&split->lengths, (int64_t)row->len);
    array_str(&split->codes, row->code);
    array_str(&split->details, row->detail);
}

bool outbox_split(struct db *db, const struct run_task *task, struct outbox_split *split,
                  struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_fence(&args, task);
    args_int64(&args, split->batch_id);
    if (!args_close_array(&args, &split->addresses, err) ||
        !args_close_array(&args, &split->parts, err) ||
        !args_close_array(&args, &split->offsets, err) ||
        !args_close_array(&args, &split->lengths, err) ||
        !args_close_array(&args, &split->codes, err) ||
        !args_close_array(&args, &split->details, err))
        return false;
    args_bool(&args, split->unanswered);
    if (!FAILPOINT_AROUND("split", db_fenced(db, split_sql, &args, &rows, err)))
        return false;
    return result_bool(rows, 0, 0) || error_lost(err);
}
