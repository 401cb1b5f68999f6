#include "worker/export/plan.h"

#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/wakeup.h"
#include "worker/export/member_scan.h"
#include "worker/store/members.h"

enum { STOP_AGAIN_MS = 20 };

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
    struct db_canceller *cancel_reading, *cancel_remembering, *cancel_writing;
};

static void show_counts(struct plan *plan, const struct run_counts *counts)
{
    atomic_store_explicit(&plan->shown.read, counts->read, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.invalid, counts->invalid, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.duplicate, counts->duplicate, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.unchanged, counts->unchanged, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.selected, counts->selected, memory_order_relaxed);
    atomic_store_explicit(&plan->shown.left, counts->left, memory_order_relaxed);
}

/* Where no more members than the limit can come, the first batch may go at once. */
static void members_counted(void *opaque, int64_t members)
{
    struct plan *plan = opaque;

    if (members <= plan->options.task->max_profiles)
        atomic_store(&plan->may_deliver, true);
}

static void batch_planned(void *opaque)
{
    struct plan *plan = opaque;

    atomic_fetch_add(&plan->shown.batches, 1);
    wakeup_signal(plan->options.wakeup_fd);
}

static bool may_go_on(void *opaque, const struct run_counts *counts)
{
    struct plan *plan = opaque;

    show_counts(plan, counts);
    return !atomic_load(&plan->stop);
}

static void share_cancellers(struct plan *plan, struct member_scan *scan)
{
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    plan->cancel_reading = db_canceller_new(scan->reading);
    plan->cancel_remembering = db_canceller_new(scan->remembering);
    plan->cancel_writing = db_canceller_new(scan->writing);
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

static void take_back_cancellers(struct plan *plan)
{
    (void)pthread_mutex_lock(&plan->cancellers_lock);
    db_canceller_free(db_canceller_take(&plan->cancel_reading));
    db_canceller_free(db_canceller_take(&plan->cancel_remembering));
    db_canceller_free(db_canceller_take(&plan->cancel_writing));
    (void)pthread_mutex_unlock(&plan->cancellers_lock);
}

static bool open_connections(struct plan *plan, struct member_scan *scan, struct error *err)
{
    const char *url = plan->options.database_url;

    if (!db_open(&scan->reading, url, "klaviyo-worker plan", err) ||
        !db_open(&scan->remembering, url, "klaviyo-worker plan", err) ||
        !db_open(&scan->writing, url, "klaviyo-worker plan", err))
        return false;
    share_cancellers(plan, scan);
    return runs_note_backend(scan->reading, scan->task, err) &&
           runs_note_backend(scan->remembering, scan->task, err) &&
           runs_note_backend(scan->writing, scan->task, err) &&
           runs_begin_plan(scan->writing, scan->task, err);
}

static bool over_limit(struct member_scan *scan, struct error *err)
{
    int64_t distinct = selection_distinct(&scan->selection);

    if (distinct <= scan->task->max_profiles)
        return true;
    return error_set(err, ERROR_INPUT,
                     "%lld distinct valid addresses, --max-profiles is %lld: raise it with "
                     "export update, or choose smaller segments",
                     (long long)distinct, (long long)scan->task->max_profiles);
}

static enum plan_outcome conclude(struct plan *plan, enum plan_outcome outcome,
                                  const struct error *err)
{
    plan->why = *err;
    if (outcome == PLAN_INTERRUPTED)
        log_info("plan_interrupted", LOG_INT("run", plan->options.task->run_id), LOG_ERROR_OF(err));
    return outcome;
}

/* Attributes are Klaviyo's names, out of its table: no word of a site is logged. */
static void log_values_left_out(const struct run_task *task, const struct mapping *mapping)
{
    for (size_t i = 0; i < task->n_fields; i++) {
        struct mapping_count count = mapping_count(mapping, i);

        if (count.no_text > 0)
            log_warn("values_left_out", LOG_INT("run", task->run_id),
                     LOG_STR("export", task->export_name),
                     LOG_STR("attribute", task->fields[i].name), LOG_INT("rows", count.no_text));
    }
}

static enum plan_outcome run_pass(struct plan *plan, struct member_scan *scan)
{
    struct error err = ERROR_INIT;

    if (!open_connections(plan, scan, &err))
        return conclude(plan, PLAN_INTERRUPTED, &err);
    /* Only reading the members can fail for good: that is the site's side. */
    if (!member_scan_read(scan, &err))
        return conclude(plan, err.kind == ERROR_INPUT ? PLAN_SOURCE_UNREADABLE : PLAN_INTERRUPTED,
                        &err);
    show_counts(plan, &scan->selection.counts);
    log_values_left_out(scan->task, scan->mapping);
    if (!over_limit(scan, &err))
        return conclude(plan, PLAN_OVER_LIMIT, &err);
    if (!runs_end_plan(scan->writing, scan->task, &scan->selection.counts, &err))
        return conclude(plan, PLAN_INTERRUPTED, &err);
    atomic_store(&plan->may_deliver, true);
    return PLAN_DONE;
}

static void *plan_main(void *argument)
{
    struct plan *plan = argument;
    const struct scan_observer observer = { plan, members_counted, batch_planned, may_go_on };
    struct member_scan scan;
    struct error err = ERROR_INIT;

    if (member_scan_init(&scan, plan->options.task, &observer, &err))
        plan->outcome = run_pass(plan, &scan);
    else
        plan->outcome = conclude(plan, PLAN_INTERRUPTED, &err);
    take_back_cancellers(plan);
    member_scan_release(&scan);
    atomic_store(&plan->ended, true);
    wakeup_signal(plan->options.wakeup_fd);
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
    if (plan->cancel_remembering)
        db_canceller_fire(plan->cancel_remembering);
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

enum plan_outcome plan_result(const struct plan *plan, struct error *why)
{
    assert(plan_has_ended(plan));
    *why = plan->why;
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
    /* More than once: a cancel between two statements cancels nothing. */
    while (!plan_has_ended(plan)) {
        plan_stop(plan);
        (void)poll(NULL, 0, STOP_AGAIN_MS);
    }
    (void)pthread_join(plan->thread, NULL);
    (void)pthread_mutex_destroy(&plan->cancellers_lock);
    free(plan);
}

bool plan_preview(const char *database_url, const struct run_task *task,
                  struct plan_preview *preview, struct error *err)
{
    CLEANUP(member_scan_release) struct member_scan scan;

    if (!member_scan_init(&scan, task, NULL, err) ||
        !db_open(&scan.reading, database_url, "klaviyo-worker preview", err) ||
        !db_open(&scan.remembering, database_url, "klaviyo-worker preview", err) ||
        !member_scan_read(&scan, err))
        return false;
    struct mapping_count *fields = calloc(task->n_fields + 1, sizeof *fields);
    if (!fields)
        return error_no_memory(err);
    for (size_t i = 0; i < task->n_fields; i++)
        fields[i] = mapping_count(scan.mapping, i);
    *preview = (struct plan_preview){ .counts = scan.selection.counts,
                                      .batches = scan.batches,
                                      .body_bytes = scan.body_bytes,
                                      .fields = fields };
    return true;
}
