#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/database.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/klaviyo.h"
#include "tests/simulate/process.h"
#include "tests/simulate/trace.h"
#include "worker/export/batch.h"
#include "worker/store/outbox.h"

/* store/outbox.h and the rows of rejections.h: batches, by the statements in store/outbox.c. */

/* Small batches, so that a run has several. */
void __real_batch_init(struct batch *batch, const struct batch_limits *limits);
void __wrap_batch_init(struct batch *batch, const struct batch_limits *limits);
void __wrap_batch_init(struct batch *batch, const struct batch_limits *limits)
{
    __real_batch_init(batch, &(struct batch_limits){ ROWS_PER_BATCH, limits->bytes });
}

/* ---- planning ---- */

struct pending_plan {
    char take_id[TAKE_ID_BYTES];
    struct run_task task; /* its numbers */
    struct outbox_row batch;
    struct ledger_entry entry[ROWS_PER_BATCH];
    bool all_new;
};

/* The i-th element of an array in PostgreSQL's binary form: a length, then so many bytes. */
static const char *element(const struct binary_array *array, int i)
{
    const char *at = array->bytes.data + 20;

    for (; i > 0; i--)
        at += 4 + (unsigned char)at[3];
    return at + 4;
}

static int64_t number(const struct binary_array *array, int i)
{
    const char *bytes = element(array, i);
    uint64_t n = 0;

    for (int k = 0; k < 8; k++)
        n = n << 8 | (unsigned char)bytes[k];
    return (int64_t)n;
}

static void read_rows(const struct batch_rows *rows, struct pending_plan *pending)
{
    pending->batch.n_rows = (int)rows->n;
    pending->all_new = rows->n_known == 0;
    for (int i = 0; i < pending->batch.n_rows; i++) {
        pending->batch.person[i] = person_number(element(&rows->addresses, i) + 1);
        pending->entry[i] = (struct ledger_entry){ .known = true,
                                                   .fingerprint = number(&rows->fingerprints, i),
                                                   .filled = (uint64_t)number(&rows->filled, i),
                                                   .listed = *element(&rows->listed, i) != 0 };
    }
}

bool outbox_plan_begin(struct db *db, const struct run_task *task, struct batch_rows *rows,
                       const struct outbox_plan *plan, struct error *err)
{
    struct pending_plan *pending = calloc(1, sizeof *pending);

    assert(pending && plan->body->len < BODY_BYTES && rows->n <= ROWS_PER_BATCH);
    (void)snprintf(pending->task.take_id, sizeof pending->task.take_id, "%s", task->take_id);
    pending->task.run_id = task->run_id;
    pending->batch = (struct outbox_row){ .state = BATCH_PLANNED,
                                          .export = (int)task->export_id - 1,
                                          .run = task->run_id,
                                          .names_list = plan->names_list };
    memcpy(pending->batch.body, plan->body->data, plan->body->len);
    read_rows(rows, pending);
    free(*connection_pending(db));
    *connection_pending(db) = pending;
    return db_is_up(db) || error_set(err, ERROR_RETRY, "the connection is gone");
}

static bool is_known(const struct pending_plan *pending)
{
    for (int i = 0; i < pending->batch.n_rows; i++)
        if (database.ledger[pending->batch.export][pending->batch.person[i]].known)
            return true;
    return false;
}

static void write_plan(const struct pending_plan *pending)
{
    int64_t number_of_batch = database_new_batch();

    database.batches[number_of_batch] = pending->batch;
    for (int i = 0; i < pending->batch.n_rows; i++) {
        struct ledger_entry *entry =
            &database.ledger[pending->batch.export][pending->batch.person[i]];
        struct ledger_entry old = entry->known ? *entry : (struct ledger_entry){ .known = false };

        *entry = pending->entry[i];
        entry->listed = (entry->listed && !pending->all_new) || old.listed;
        entry->perhaps_listed = old.perhaps_listed || old.removing || database_is_posted(old.batch);
        entry->batch = number_of_batch;
        entry->rejected_batch = old.rejected_batch;
    }
    trace("plans batch %d of run %d: %d rows%s", (int)number_of_batch, (int)pending->batch.run,
          pending->batch.n_rows, pending->batch.names_list ? " with the list" : "");
}

bool outbox_plan_end(struct db *db, struct error *err)
{
    const struct pending_plan *pending = *connection_pending(db);

    if (!statement_arrives(db, err))
        return false;
    if (!database_owned(&pending->task))
        return statement_is_refused(db, err);
    if (pending->all_new && is_known(pending))
        return statement_is_answered(db, err) && error_set(err, ERROR_RETRY, "a row is there");
    write_plan(pending);
    return statement_is_answered(db, err);
}

/* ---- reading ---- */

void outbox_batches_release(struct outbox_batches *batches)
{
    for (size_t i = 0; i < batches->n; i++)
        free(batches->items[i].job_id);
    free(batches->items);
    *batches = (struct outbox_batches){ .n = 0 };
}

static bool is_held(const struct outbox_window *window, int64_t batch)
{
    for (size_t i = 0; window && i < window->n_held; i++)
        if (window->held[i] == batch)
            return true;
    return false;
}

/* window NULL: all. */
static struct outbox_batches collect(const struct run_task *task, enum batch_state state,
                                     const struct outbox_window *window)
{
    size_t max = window ? (size_t)window->max : (size_t)database.n_batches;
    struct outbox_batches found = { .items = calloc(max + 1, sizeof *found.items) };

    assert(found.items);
    for (int64_t i = 1; i <= database.n_batches && found.n < max && database_owned(task); i++) {
        const struct outbox_row *b = database_batch(i, task);

        if (b && b->state == state && !is_held(window, i))
            found.items[found.n++] =
                (struct outbox_batch){ .batch_id = i,
                                       .rows = b->n_rows,
                                       .bytes = (int64_t)strlen(b->body),
                                       .names_list = b->names_list,
                                       .job_id = *b->job ? strdup(b->job) : NULL,
                                       .posted = b->posted_ms && !*b->job };
    }
    return found;
}

static bool answer(struct db *db, struct outbox_batches *found, struct outbox_batches *batches,
                   struct error *err)
{
    if (!statement_is_answered(db, err)) {
        outbox_batches_release(found);
        return false;
    }
    *batches = *found;
    return true;
}

bool outbox_planned(struct db *db, const struct run_task *task, const struct outbox_window *window,
                    struct outbox_batches *batches, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_batches found = collect(task, BATCH_PLANNED, window);
    return answer(db, &found, batches, err);
}

bool outbox_sent(struct db *db, const struct run_task *task, struct outbox_batches *batches,
                 struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_batches found = collect(task, BATCH_SENT, NULL);
    return answer(db, &found, batches, err);
}

/* The batch, if the run owns it and it is in that state. */
static struct outbox_row *owned_batch(const struct run_task *task, int64_t batch,
                                      enum batch_state state)
{
    struct outbox_row *b = database_owned(task) ? database_batch(batch, task) : NULL;

    return b && b->state == state ? b : NULL;
}

bool outbox_body(struct db *db, const struct run_task *task, int64_t batch_id, struct strbuf *body,
                 struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    const struct outbox_row *b = database_owned(task) ? database_batch(batch_id, task) : NULL;
    if (!b || !*b->body)
        return statement_is_refused(db, err);
    strbuf_add_str(body, b->body);
    return statement_is_answered(db, err);
}

/* ---- what becomes of a batch ---- */

bool outbox_mark_posted(struct db *db, const struct run_task *task, int64_t batch_id,
                        struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_row *b = owned_batch(task, batch_id, BATCH_PLANNED);
    if (!b)
        return statement_is_refused(db, err);
    b->posted_ms = fiber_now_ms();
    b->posts++;
    (void)snprintf(b->poster, sizeof b->poster, "%s", task->take_id);
    database.runs[task->run_id].posted = true;
    return statement_is_answered(db, err);
}

bool outbox_mark_unposted(struct db *db, const struct run_task *task, int64_t batch_id,
                          struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_row *b = owned_batch(task, batch_id, BATCH_PLANNED);
    if (!b)
        return statement_is_refused(db, err);
    b->posted_ms = 0;
    return statement_is_answered(db, err);
}

bool outbox_mark_sent(struct db *db, const struct run_task *task, int64_t batch_id,
                      const struct outbox_job *job, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_row *b = owned_batch(task, batch_id, BATCH_PLANNED);
    if (!b)
        return statement_is_refused(db, err);
    b->state = BATCH_SENT;
    (void)snprintf(b->job, sizeof b->job, "%s", job->job_id);
    if (job->unanswered)
        database_keep_late_job(batch_id, NULL, false);
    trace("batch %d is job %s%s", (int)batch_id, job->job_id, job->unanswered ? ", at least" : "");
    return statement_is_answered(db, err);
}

bool outbox_send_again(struct db *db, const struct run_task *task, int64_t batch_id,
                       const char *late_job, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_row *b = owned_batch(task, batch_id, BATCH_SENT);
    if (!b)
        return statement_is_refused(db, err);
    char job[TEXT_BYTES];
    (void)snprintf(job, sizeof job, "%s", b->job);
    b->state = BATCH_PLANNED;
    b->job[0] = '\0';
    if (late_job)
        database_keep_late_job(batch_id, late_job, true);
    else
        klaviyo_note_over(job);
    trace("batch %d is sent again", (int)batch_id);
    return statement_is_answered(db, err);
}

/* ---- rows that were refused: their places in the body ---- */

void refused_rows_init(struct refused_rows *refused)
{
    *refused = (struct refused_rows){ .n = 0 };
}

void refused_rows_release(struct refused_rows *refused UNUSED)
{
}

void refused_rows_add(struct refused_rows *refused, size_t position, struct bytes address UNUSED,
                      const char *code UNUSED, const char *detail UNUSED)
{
    refused->positions.len |= (size_t)1 << position; /* a set */
    refused->n++;
}

void refused_rows_add_unidentified(struct refused_rows *refused, const char *code UNUSED,
                                   const char *detail UNUSED)
{
    refused->unidentified++;
}

bool outbox_confirm(struct db *db, const struct run_task *task, int64_t batch_id,
                    struct refused_rows *refused, struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_row *b = owned_batch(task, batch_id, BATCH_SENT);
    if (!b)
        return statement_is_refused(db, err);
    struct run_row *run = &database.runs[task->run_id];
    klaviyo_note_over(b->job);
    b->state = refused->unidentified > 0 ? BATCH_UNRESOLVED : BATCH_COMPLETE;
    for (int i = 0; i < b->n_rows; i++)
        if (refused->positions.len >> i & 1)
            database.ledger[b->export][b->person[i]].rejected_batch = batch_id;
    run->takes_without_progress = 0;
    run->accepted += b->n_rows - refused->n - refused->unidentified;
    run->rejected += refused->n + refused->unidentified;
    trace("batch %d is over: %d rows, %d refused, %d unidentified", (int)batch_id, b->n_rows,
          (int)refused->n, (int)refused->unidentified);
    return statement_is_answered(db, err);
}

/* ---- splitting ---- */

struct split_row {
    int64_t part;
    size_t offset, len;
};

void outbox_split_init(struct outbox_split *split, int64_t batch_id)
{
    *split = (struct outbox_split){ .batch_id = batch_id, .parts = STRBUF_INIT(BODY_BYTES) };
}

void outbox_split_release(struct outbox_split *split)
{
    strbuf_release(&split->parts);
}

void outbox_split_add(struct outbox_split *split, const struct outbox_split_row *row)
{
    struct split_row kept = { row->part, row->offset, row->len };

    strbuf_add(&split->parts, (const char *)&kept, sizeof kept);
}

static void add_row(struct outbox_row *part, const struct outbox_row *whole, int row,
                    const struct split_row *where)
{
    size_t len = strlen(part->body);

    part->person[part->n_rows++] = whole->person[row];
    (void)snprintf(part->body + len, sizeof part->body - len, "%s%.*s", len ? ",\n" : "",
                   (int)where->len, whole->body + where->offset);
}

/* The rows of one part, in a batch of their own. */
static void make_part(const struct outbox_row *whole, const struct split_row *rows, int64_t part)
{
    struct outbox_row made = { .state = BATCH_PLANNED,
                               .export = whole->export,
                               .run = whole->run,
                               .names_list = whole->names_list };

    for (int i = 0; i < whole->n_rows; i++)
        if (rows[i].part == part)
            add_row(&made, whole, i, &rows[i]);
    if (made.n_rows == 0)
        return;
    int64_t number_of_batch = database_new_batch();
    database.batches[number_of_batch] = made;
    for (int i = 0; i < made.n_rows; i++)
        database.ledger[made.export][made.person[i]].batch = number_of_batch;
}

static void refuse(const struct outbox_row *whole, const struct split_row *rows)
{
    struct run_row *run = &database.runs[whole->run];

    for (int i = 0; i < whole->n_rows; i++) {
        struct ledger_entry *entry = &database.ledger[whole->export][whole->person[i]];

        if (rows[i].part != 0)
            continue;
        entry->rejected_batch = entry->batch;
        run->rejected++;
        run->takes_without_progress = 0;
    }
}

bool outbox_split(struct db *db, const struct run_task *task, struct outbox_split *split,
                  struct error *err)
{
    if (!statement_arrives(db, err))
        return false;
    struct outbox_row *b = owned_batch(task, split->batch_id, BATCH_PLANNED);
    if (!b)
        return statement_is_refused(db, err);
    struct split_row rows[ROWS_PER_BATCH];
    memcpy(rows, split->parts.data, (size_t)b->n_rows * sizeof rows[0]);
    trace("batch %d is split", (int)split->batch_id);
    if (split->unanswered)
        database_keep_late_job(split->batch_id, NULL, false);
    make_part(b, rows, 1);
    make_part(b, rows, 2);
    refuse(b, rows);
    b->state = BATCH_NONE;
    return statement_is_answered(db, err);
}
