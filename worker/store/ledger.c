#include "worker/store/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/store/copy_stream.h"
#include "worker/store/members.h"
#include "worker/store/statement.h"

enum { N_FIELDS = 8, STREAM_SQL_BYTES = 256 };

struct unfinished {
    int64_t batch_id;
    bool posted;
};

struct ledger {
    struct db *db;
    const struct run_task *task;
    bool started;
    bool empty;
    struct copy_stream stream;
    struct unfinished *unfinished; /* batches, ascending */
    size_t n_unfinished;
};

/* By the primary key, whatever the planner knows of the table: no row waits for a sort. */
static const char settings_sql[] = "select set_config('enable_sort', 'off', true),"
                                   " set_config('max_parallel_workers_per_gather', '0', true)";

static const char is_empty_sql[] =
    "select not exists (select from klaviyo.ledger where export_id = $1)";

static const char unfinished_sql[] =
    "select batch_id, state <> 'planned' or posted_at is not null from klaviyo.batch where export_id = $1 and state <> 'complete'"
    " order by batch_id";

static bool look_whether_empty(struct ledger *ledger, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, ledger->task->export_id);
    if (!db_query(ledger->db, is_empty_sql, &args, &rows, err))
        return false;
    ledger->empty = result_bool(rows, 0, 0);
    return true;
}

static bool load_unfinished(struct ledger *ledger, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;
    struct args args = ARGS_INIT;

    args_int64(&args, ledger->task->export_id);
    if (!db_query(ledger->db, unfinished_sql, &args, &rows, err))
        return false;
    ledger->n_unfinished = (size_t)result_rows(rows);
    ledger->unfinished = calloc(ledger->n_unfinished + 1, sizeof *ledger->unfinished);
    if (!ledger->unfinished)
        return error_no_memory(err);
    for (size_t i = 0; i < ledger->n_unfinished; i++)
        ledger->unfinished[i] =
            (struct unfinished){ result_int64(rows, (int)i, 0), result_bool(rows, (int)i, 1) };
    return true;
}

/* ERROR_INPUT is what the site's view raises; these tables are not the site's. */
static bool ours(bool ok, struct error *err)
{
    if (!ok && err->kind == ERROR_INPUT)
        err->kind = ERROR_FATAL;
    return ok;
}

static bool prepare(struct ledger *ledger, struct error *err)
{
    return db_query(ledger->db, members_settings_sql, NULL, NULL, err) &&
           look_whether_empty(ledger, err) && load_unfinished(ledger, err);
}

bool ledger_open(struct ledger **out, struct db *db, const struct run_task *task, struct error *err)
{
    CLEANUP(ledger_freep) struct ledger *ledger = calloc(1, sizeof *ledger);

    if (!ledger)
        return error_no_memory(err);
    ledger->db = db;
    ledger->task = task;
    if (!ours(prepare(ledger, err), err) || !copy_stream_init(&ledger->stream, db, N_FIELDS, err))
        return false;
    *out = ledger_take(&ledger);
    return true;
}

void ledger_free(struct ledger *ledger)
{
    if (!ledger)
        return;
    copy_stream_release(&ledger->stream);
    free(ledger->unfinished);
    if (PQtransactionStatus(db_handle(ledger->db)) != PQTRANS_ACTIVE)
        db_rollback(ledger->db);
    free(ledger);
}

static int compare_ids(const void *a, const void *b)
{
    const struct unfinished *x = a, *y = b;

    return (x->batch_id > y->batch_id) - (x->batch_id < y->batch_id);
}

bool ledger_is_empty(const struct ledger *ledger)
{
    return ledger->empty;
}

/* NULL: it is complete. */
static const struct unfinished *find_unfinished(const struct ledger *ledger, int64_t batch_id)
{
    struct unfinished wanted = { .batch_id = batch_id };

    return ledger->n_unfinished == 0 ? NULL
                                     : bsearch(&wanted, ledger->unfinished, ledger->n_unfinished,
                                               sizeof wanted, compare_ids);
}

static bool is_true(const struct bytes *field)
{
    return field->at && field->n == 1 && field->at[0];
}

static void read_row(const struct ledger *ledger, struct ledger_row *row)
{
    const struct bytes *f = ledger->stream.fields;
    int64_t batch_id = copy_int(&f[2]), refused_in = copy_int(&f[3]);
    const struct unfinished *unfinished = find_unfinished(ledger, batch_id);
    bool confirmed = !unfinished;

    *row = (struct ledger_row){
        .address = f[0],
        .fingerprint = copy_int(&f[1]),
        .confirmed = confirmed,
        .listed = is_true(&f[4]),
        .rejected = f[3].at && (refused_in == batch_id || (!confirmed && batch_id > refused_in)),
        .settled = batch_id >= ledger->task->first_batch,
        .posted = unfinished && unfinished->posted,
        .removing = is_true(&f[6]),
        .perhaps_listed = is_true(&f[7]),
        .has_filled = f[5].at != NULL,
        .filled = (uint64_t)copy_int(&f[5]),
    };
}

static bool start(struct ledger *ledger)
{
    char sql[STREAM_SQL_BYTES];

    (void)snprintf(
        sql, sizeof sql,
        "copy (select address, fingerprint, batch_id, rejected_batch, listed, filled, removing,"
        " perhaps_listed from klaviyo.ledger where export_id = %" PRId64
        " order by address) to stdout (format binary)",
        ledger->task->export_id);
    ledger->started = true;
    return copy_stream_start(&ledger->stream, sql);
}

static enum ledger_next failed(struct ledger *ledger, struct error *err)
{
    (void)ours(db_failure(ledger->db, ledger->stream.failure, "reading what was sent before", err),
               err);
    return LEDGER_ERROR;
}

enum ledger_next ledger_next(struct ledger *ledger, struct ledger_row *row, struct error *err)
{
    if (ledger->empty)
        return LEDGER_END;
    if (!ledger->started && !ours(db_query(ledger->db, settings_sql, NULL, NULL, err), err))
        return LEDGER_ERROR;
    if (!ledger->started && !start(ledger))
        return failed(ledger, err);

    switch (copy_stream_next(&ledger->stream)) {
    case COPY_STREAM_ROW:
        read_row(ledger, row);
        return LEDGER_ROW;
    case COPY_STREAM_END:
        ledger->empty = true; /* there is no more */
        return LEDGER_END;
    case COPY_STREAM_FAILED:
        return failed(ledger, err);
    case COPY_STREAM_BROKEN:
        break;
    }
    error_set(err, ERROR_RETRY, "what was sent before cannot be read: the stream is damaged");
    return LEDGER_ERROR;
}
