#include "worker/export/plan.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "worker/export/batch.h"
#include "worker/export/mapping.h"
#include "worker/export/selection.h"
#include "worker/klaviyo/import_job.h"
#include "worker/store/members.h"
#include "worker/store/outbox.h"

enum {
    INVALID_MAX_ROWS = 1000,                         /* local rejections of one write */
    OBJECT_MAX_BYTES = 2 * IMPORT_JOB_MAX_ROW_BYTES, /* larger is refused anyway */
    COUNTS_EVERY_ROWS = 1024,                        /* how often the counts are shown */
};

/* Counts that the deliverer reads while the planner writes. */
struct shown_counts {
    atomic_llong read, invalid, duplicate, unchanged, selected, left, batches;
};

struct plan {
    struct plan_options options;
    pthread_t thread;
    atomic_bool stop, may_deliver, ended;
    struct shown_counts shown;
    enum plan_outcome outcome;
    struct error why;

    pthread_mutex_t cancellers_lock;
    struct db_canceller *cancel_reading, *cancel_writing;
};

/* A batch in the making and its rows. */
struct planned {
    struct batch batch;
    struct outbox_rows rows;
};

/* One pass over the members; the planner's thread owns it. */
struct pass {
    const struct run_task *task;
    struct plan *plan; /* NULL: a preview, nothing is written */
    struct db *reading;
    struct db *writing;
    struct mapping *mapping;
    struct selection selection;
    struct strbuf object;
    struct planned usual;
    struct planned apart; /* rows that Klaviyo refused last time */
    struct outbox_invalid invalid;
    int64_t batches;
    int64_t body_bytes;
    bool over_limit;
};

static void planned_init(struct planned *planned, const struct run_task *task)
{
    struct batch_limits limits = { .rows = IMPORT_JOB_MAX_ROWS,
                                   .bytes = IMPORT_JOB_MAX_BYTES -
                                            import_job_frame_bytes(task->list_id) };

    batch_init(&planned->batch, &limits);
    outbox_rows_init(&planned->rows);
}

static void planned_release(struct planned *planned)
{
    batch_release(&planned->batch);
    outbox_rows_release(&planned->rows);
}

static void pass_release(struct pass *pass)
{
    mapping_free(pass->mapping);
    selection_release(&pass->selection);
    strbuf_release(&pass->object);
    planned_release(&pass->usual);
    planned_release(&pass->apart);
    outbox_invalid_release(&pass->invalid);
    db_free(pass->reading);
    db_free(pass->writing);
}

static bool pass_init(struct pass *pass, const struct run_task *task, struct plan *plan,
                      struct error *err)
{
    *pass = (struct pass){ .task = task, .plan = plan, .object = STRBUF_INIT(OBJECT_MAX_BYTES) };
    selection_init(&pass->selection, task->full);
    planned_init(&pass->usual, task);
    planned_init(&pass->apart, task);
    outbox_invalid_init(&pass->invalid);
    pass->mapping = mapping_new(task->fields, task->n_fields);
    return pass->mapping || error_no_memory(err);
}

static void ring(const struct plan *plan)
{
    uint64_t one = 1;

    /* A bell that is full has been rung. */
    if (write(plan->options.bell_fd, &one, sizeof one) < 0)
        return;
}

static void show_counts(struct plan *plan, const struct run_counts *counts)
{
    atomic_store_explicit(&plan->shown.read, counts->read, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.invalid, counts->invalid, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.duplicate, counts->duplicate, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.unchanged, counts->unchanged, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.selected, counts->selected, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.left, counts->left, memory_order_relaxed);
}

/* A write of ours that fails is never the source's fault: the run is taken again. */
static bool written(bool ok, struct error *err)
{
    if (!ok && err->kind == ERROR_INPUT)
        err->kind = ERROR_RETRY;
    return ok;
}

/* The batch goes into the outbox, unless this is a preview or over the limit. */
static bool flush_batch(struct pass *pass, struct planned *planned, struct error *err)
{
    if (planned->batch.rows == 0)
        return true;
    pass->batches++;
    pass->body_bytes += (int64_t)planned->batch.body.len;
    if (pass->plan && !pass->over_limit) {
        if (!written(
                outbox_plan(pass->writing, pass->task, &planned->rows, &planned->batch.body, err),
                err))
            return false;
        atomic_fetch_add(&pass->plan->shown.batches, 1);
        ring(pass->plan);
    }
    batch_clear(&planned->batch);
    outbox_rows_clear(&planned->rows);
    return true;
}

static bool flush_invalid(struct pass *pass, struct error *err)
{
    return !pass->plan ||
           written(outbox_reject_local(pass->writing, pass->task, &pass->invalid, err), err);
}

static bool take_invalid(struct pass *pass, const struct member *member, const char *code,
                         struct error *err)
{
    if (!pass->plan)
        return true;
    outbox_invalid_add(&pass->invalid, member->address.bytes, member->address.len,
                       member->profile_id.bytes, member->profile_id.len, code);
    return pass->invalid.n < INVALID_MAX_ROWS || flush_invalid(pass, err);
}

/* Keyed by the export: a fingerprint tells nothing to who has not the key. */
static int64_t fingerprint_of(const struct pass *pass)
{
    unsigned char hash[crypto_shorthash_BYTES];
    int64_t fingerprint;

    static_assert(sizeof hash == sizeof fingerprint, "one 64-bit number");
    static_assert(FINGERPRINT_KEY_BYTES == crypto_shorthash_KEYBYTES, "the key of SipHash");
    (void)crypto_shorthash(hash, (const unsigned char *)pass->object.data, pass->object.len,
                           pass->task->fingerprint_key);
    memcpy(&fingerprint, hash, sizeof fingerprint);
    return fingerprint;
}

static bool add_to_batch(struct pass *pass, struct planned *planned, const struct member *member,
                         int64_t fingerprint, struct error *err)
{
    enum batch_add added = batch_add(&planned->batch, pass->object.data, pass->object.len);

    if (added == BATCH_FULL) {
        if (!flush_batch(pass, planned, err))
            return false;
        added = batch_add(&planned->batch, pass->object.data, pass->object.len);
    }
    if (added != BATCH_ADDED)
        return error_no_memory(err);
    if (pass->plan) {
        struct outbox_row row = { .address = member->address.bytes,
                                  .address_len = member->address.len,
                                  .profile_id = member->profile_id.bytes,
                                  .profile_id_len = member->profile_id.len,
                                  .fingerprint = fingerprint,
                                  .listed = selection_was_listed(member) };
        outbox_rows_add(&planned->rows, &row);
    }
    return true;
}

static bool take_candidate(struct pass *pass, const struct member *member, struct error *err)
{
    strbuf_rewind(&pass->object, 0);
    mapping_add(pass->mapping, &pass->object, member->address.bytes, member->address.len,
                member->fields);
    if (!strbuf_ok(&pass->object) || pass->object.len > IMPORT_JOB_MAX_ROW_BYTES)
        return take_invalid(pass, member, selection_too_large(&pass->selection), err);

    int64_t fingerprint = fingerprint_of(pass);
    switch (selection_compare(&pass->selection, member, fingerprint)) {
    case SELECTION_UNCHANGED:
        return true;
    case SELECTION_SEND:
        return add_to_batch(pass, &pass->usual, member, fingerprint, err);
    case SELECTION_SEND_APART:
        break;
    }
    return add_to_batch(pass, &pass->apart, member, fingerprint, err);
}

static bool take_member(struct pass *pass, const struct member *member, struct error *err)
{
    const char *code;

    switch (selection_offer(&pass->selection, member, &code)) {
    case SELECTION_NOTHING:
        return true;
    case SELECTION_INVALID:
        return take_invalid(pass, member, code, err);
    case SELECTION_CANDIDATE:
        break;
    }
    return take_candidate(pass, member, err);
}

/* Between two members: is it still wanted, is it still within the limit? */
static bool look_up(struct pass *pass, int64_t n, struct error *err)
{
    if (selection_distinct(&pass->selection) > pass->task->max_profiles)
        pass->over_limit = true;
    if (!pass->plan || n % COUNTS_EVERY_ROWS != 0)
        return true;
    show_counts(pass->plan, &pass->selection.counts);
    if (atomic_load(&pass->plan->stop))
        return error_set(err, ERROR_LOST, "the plan was stopped");
    return true;
}

static bool read_all(struct pass *pass, struct members *members, struct error *err)
{
    struct member member;

    for (int64_t n = 1;; n++) {
        switch (members_next(members, &member, err)) {
        case MEMBERS_ERROR:
            return false;
        case MEMBERS_END:
            return true;
        case MEMBERS_ROW:
            break;
        }
        if (!take_member(pass, &member, err) || !look_up(pass, n, err))
            return false;
    }
}

static bool read_and_batch(struct pass *pass, struct error *err)
{
    CLEANUP(members_freep) struct members *members = NULL;

    if (!members_open(&members, pass->reading, pass->task, err) || !read_all(pass, members, err))
        return false;
    return flush_batch(pass, &pass->usual, err) && flush_batch(pass, &pass->apart, err) &&
           flush_invalid(pass, err);
}

/* Where fewer members than the limit can come, the first batch may go at once. */
static bool decide_overlap(struct pass *pass, struct error *err)
{
    int64_t count;

    if (!members_count(pass->reading, pass->task, &count, err))
        return false;
    if (count <= pass->task->max_profiles)
        atomic_store(&pass->plan->may_deliver, true);
    return true;
}

static void share_cancellers(struct pass *pass)
{
    struct plan *plan = pass->plan;

    (void)pthread_mutex_lock(&plan->cancellers_lock);
    plan->cancel_reading = db_canceller_new(pass->reading);
    plan->cancel_writing = db_canceller_new(pass->writing);
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

static void take_back_cancellers(struct plan *plan)
{
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    db_canceller_free(db_canceller_take(&plan->cancel_reading));
    db_canceller_free(db_canceller_take(&plan->cancel_writing));
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

static bool open_connections(struct pass *pass, struct error *err)
{
    const char *url = pass->plan->options.database_url;

    if (!db_open(&pass->reading, url, "klaviyo-worker plan", err) ||
        !db_open(&pass->writing, url, "klaviyo-worker plan", err))
        return false;
    share_cancellers(pass);
    return runs_note_backend(pass->reading, pass->task, err) &&
           runs_note_backend(pass->writing, pass->task, err) &&
           runs_begin_plan(pass->writing, pass->task, err);
}

static bool over_limit(struct pass *pass, struct error *err)
{
    int64_t distinct = selection_distinct(&pass->selection);

    if (distinct <= pass->task->max_profiles)
        return true;
    return error_set(err, ERROR_INPUT,
                     "%lld distinct valid addresses, --max-profiles is %lld: raise it with "
                     "export update, or choose smaller segments",
                     (long long)distinct, (long long)pass->task->max_profiles);
}

static enum plan_outcome conclude(struct plan *plan, enum plan_outcome outcome,
                                  const struct error *err)
{
    plan->why = *err;
    if (outcome == PLAN_INTERRUPTED)
        log_info("plan_interrupted", LOG_INT("run", plan->options.task->run_id), LOG_ERROR_OF(err));
    return outcome;
}

static enum plan_outcome run_pass(struct plan *plan, struct pass *pass)
{
    struct error err = ERROR_INIT;

    if (!open_connections(pass, &err))
        return conclude(plan, PLAN_INTERRUPTED, &err);
    /* Only reading the members can fail for good: that is the site's side. */
    if (!decide_overlap(pass, &err) || !read_and_batch(pass, &err))
        return conclude(plan, err.kind == ERROR_INPUT ? PLAN_SOURCE_UNREADABLE : PLAN_INTERRUPTED,
                        &err);
    show_counts(plan, &pass->selection.counts);
    if (!over_limit(pass, &err))
        return conclude(plan, PLAN_OVER_LIMIT, &err);
    if (!runs_end_plan(pass->writing, pass->task, &pass->selection.counts, &err))
        return conclude(plan, PLAN_INTERRUPTED, &err);
    atomic_store(&plan->may_deliver, true);
    return PLAN_DONE;
}

static void *plan_main(void *argument)
{
    struct plan *plan = argument;
    struct pass pass;
    struct error err = ERROR_INIT;

    if (pass_init(&pass, plan->options.task, plan, &err))
        plan->outcome = run_pass(plan, &pass);
    else
        plan->outcome = conclude(plan, PLAN_INTERRUPTED, &err);
    take_back_cancellers(plan);
    pass_release(&pass);
    atomic_store(&plan->ended, true);
    ring(plan);
    return NULL;
}

struct plan *plan_start(const struct plan_options *options, struct error *err)
{
    struct plan *plan = calloc(1, sizeof *plan);

    if (!plan) {
        error_no_memory(err);
        return NULL;
    }
    plan->options = *options;
    (void)pthread_mutex_init(&plan->cancellers_lock, NULL);
    int failed = pthread_create(&plan->thread, NULL, plan_main, plan);
    if (failed) {
        error_set(err, ERROR_RETRY, "no thread for the plan of a run (error %d)", failed);
        (void)pthread_mutex_destroy(&plan->cancellers_lock);
        free(plan);
        return NULL;
    }
    return plan;
}

void plan_stop(struct plan *plan)
{
    atomic_store(&plan->stop, true);
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    if (plan->cancel_reading)
        db_canceller_fire(plan->cancel_reading);
    if (plan->cancel_writing)
        db_canceller_fire(plan->cancel_writing);
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

bool plan_may_deliver(const struct plan *plan)
{
    return atomic_load(&plan->may_deliver);
}

bool plan_has_ended(const struct plan *plan)
{
    return atomic_load(&plan->ended);
}

enum plan_outcome plan_result(const struct plan *plan, const char **detail)
{
    assert(plan_has_ended(plan));
    *detail = plan->why.text;
    return plan->outcome;
}

struct run_counts plan_counts(const struct plan *plan)
{
    const struct shown_counts *s = &plan->shown;

    return (struct run_counts){
        .read = atomic_load_explicit(&s->read, memory_order_relaxed),
        .invalid = atomic_load_explicit(&s->invalid, memory_order_relaxed),
        .duplicate = atomic_load_explicit(&s->duplicate, memory_order_relaxed),
        .unchanged = atomic_load_explicit(&s->unchanged, memory_order_relaxed),
        .selected = atomic_load_explicit(&s->selected, memory_order_relaxed),
        .left = atomic_load_explicit(&s->left, memory_order_relaxed),
    };
}

int64_t plan_batches(const struct plan *plan)
{
    return atomic_load(&plan->shown.batches);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    if (!plan_has_ended(plan))
        plan_stop(plan);
    (void)pthread_join(plan->thread, NULL);
    (void)pthread_mutex_destroy(&plan->cancellers_lock);
    free(plan);
}

bool plan_preview(const char *database_url, const struct run_task *task,
                  struct plan_preview *preview, struct error *err)
{
    CLEANUP(pass_release) struct pass pass;

    if (!pass_init(&pass, task, NULL, err) ||
        !db_open(&pass.reading, database_url, "klaviyo-worker preview", err) ||
        !read_and_batch(&pass, err))
        return false;
    *preview = (struct plan_preview){ .counts = pass.selection.counts,
                                      .batches = pass.batches,
                                      .body_bytes = pass.body_bytes };
    return true;
}
