#include "worker/export/batch_writer.h"

#include "worker/klaviyo/import_body.h"

enum {
    INVALID_MAX_ROWS = 1000,  /* local rejections of one write */
    LEAVERS_MAX_ROWS = 10000, /* addresses of one write */
};

static void planned_init(struct planned *planned, enum planned_kind kind,
                         const struct run_task *task)
{
    struct batch_limits limits = { .rows = IMPORT_BODY_MAX_ROWS,
                                   .bytes = IMPORT_BODY_MAX_BYTES -
                                            import_body_frame_bytes(task->list_id) };

    planned->names_list = kind == PLANNED_NEW || kind == PLANNED_ISOLATED_NEW;
    batch_init(&planned->batch, &limits);
    batch_rows_init(&planned->rows);
}

static void planned_release(struct planned *planned)
{
    batch_release(&planned->batch);
    batch_rows_release(&planned->rows);
}

void batch_writer_init(struct batch_writer *writer, const struct run_task *task)
{
    *writer = (struct batch_writer){ .task = task };
    for (enum planned_kind kind = 0; kind < PLANNED_KINDS; kind++)
        planned_init(&writer->planned[kind], kind, task);
    local_rejections_init(&writer->invalid);
    leavers_init(&writer->left);
    leavers_init(&writer->never_on);
}

void batch_writer_release(struct batch_writer *writer)
{
    for (enum planned_kind kind = 0; kind < PLANNED_KINDS; kind++)
        planned_release(&writer->planned[kind]);
    local_rejections_release(&writer->invalid);
    leavers_release(&writer->left);
    leavers_release(&writer->never_on);
    db_free(writer->outbox_db);
}

static bool written(bool ok, struct error *err)
{
    if (!ok && err->kind == ERROR_INPUT)
        err->kind = ERROR_FATAL;
    return ok;
}

bool batch_writer_begin(struct batch_writer *writer, const int32_t backends[PLAN_BACKENDS],
                        struct error *err)
{
    writer->is_beginning = runs_begin_plan_send(writer->outbox_db, writer->task, backends, err);
    return writer->is_beginning;
}

static bool end_beginning(struct batch_writer *writer, struct error *err)
{
    if (!writer->is_beginning)
        return true;
    writer->is_beginning = false;
    return written(runs_begin_plan_await(writer->outbox_db, err), err);
}

/* The batch that is on its way is in the outbox from here on. */
static bool end_writing(struct batch_writer *writer, struct error *err)
{
    if (!writer->is_writing)
        return end_beginning(writer, err);
    writer->is_writing = false;
    if (!written(outbox_plan_end(writer->outbox_db, err), err))
        return false;
    if (writer->planned_one)
        writer->planned_one(writer->opaque);
    return true;
}

static bool begin_writing(struct batch_writer *writer, struct planned *planned, struct error *err)
{
    struct outbox_plan plan = { .names_list = planned->names_list, .body = &planned->batch.body };

    if (!end_writing(writer, err) ||
        !written(outbox_plan_begin(writer->outbox_db, writer->task, &planned->rows, &plan, err),
                 err))
        return false;
    writer->is_writing = true;
    return true;
}

/* ---- batches ---- */

static bool flush_batch(struct batch_writer *writer, struct planned *planned, struct error *err)
{
    if (planned->batch.rows == 0)
        return true;
    writer->batches++;
    writer->body_bytes += (int64_t)planned->batch.body.len;
    if (writer->outbox_db && !writer->over_limit && !begin_writing(writer, planned, err))
        return false;
    batch_clear(&planned->batch);
    batch_rows_clear(&planned->rows);
    return true;
}

bool batch_writer_add(struct batch_writer *writer, enum planned_kind kind,
                      const struct strbuf *object, const struct batch_row *row, struct error *err)
{
    struct planned *planned = &writer->planned[kind];
    enum batch_add added = batch_add(&planned->batch, object->data, object->len);

    if (added == BATCH_FULL) {
        if (!flush_batch(writer, planned, err))
            return false;
        added = batch_add(&planned->batch, object->data, object->len);
    }
    if (added != BATCH_ADDED)
        return error_no_memory(err);
    if (writer->keeps_rows)
        batch_rows_add(&planned->rows, row);
    return true;
}

static bool flush_batches(struct batch_writer *writer, struct error *err)
{
    for (enum planned_kind kind = 0; kind < PLANNED_KINDS; kind++)
        if (!flush_batch(writer, &writer->planned[kind], err))
            return false;
    return end_writing(writer, err);
}

/* ---- lists ---- */

static bool flush_invalid(struct batch_writer *writer, struct error *err)
{
    return end_writing(writer, err) &&
           written(local_rejections_write(writer->outbox_db, writer->task, &writer->invalid, err),
                   err);
}

bool batch_writer_reject(struct batch_writer *writer, struct bytes address, struct bytes profile_id,
                         const char *code, struct error *err)
{
    if (!writer->outbox_db)
        return true;
    local_rejections_add(&writer->invalid, address, profile_id, code);
    return writer->invalid.n < INVALID_MAX_ROWS || flush_invalid(writer, err);
}

static bool flush_left(struct batch_writer *writer, struct error *err)
{
    return end_writing(writer, err) &&
           written(leavers_mark(writer->outbox_db, writer->task, &writer->left, err), err);
}

/* Only if they are to be taken off the list: otherwise nothing is written for them. */
bool batch_writer_mark(struct batch_writer *writer, struct bytes address, struct error *err)
{
    if (!writer->outbox_db || !writer->task->removes_leavers)
        return true;
    leavers_add(&writer->left, address.at, address.n);
    return writer->left.n < LEAVERS_MAX_ROWS || flush_left(writer, err);
}

static bool flush_never_on(struct batch_writer *writer, struct error *err)
{
    return end_writing(writer, err) &&
           written(leavers_forget(writer->outbox_db, writer->task, &writer->never_on, err), err);
}

bool batch_writer_forget(struct batch_writer *writer, struct bytes address, struct error *err)
{
    if (!writer->outbox_db)
        return true;
    leavers_add(&writer->never_on, address.at, address.n);
    return writer->never_on.n < LEAVERS_MAX_ROWS || flush_never_on(writer, err);
}

static bool flush_lists(struct batch_writer *writer, struct error *err)
{
    return !writer->outbox_db ||
           (flush_left(writer, err) && flush_never_on(writer, err) && flush_invalid(writer, err));
}

bool batch_writer_finish(struct batch_writer *writer, struct error *err)
{
    return flush_batches(writer, err) && flush_lists(writer, err);
}

void batch_writer_abandon(struct batch_writer *writer)
{
    struct error ignored = ERROR_INIT;

    (void)!end_writing(writer, &ignored);
}
