#include "worker/export/run.h"

#include "common/log.h"
#include "worker/export/delivery_loop.h"

static void log_end(const struct run_task *task, const struct run_ending *ending,
                    const struct run_record *record)
{
    const struct run_counts *counts = &record->counts;

    log_info("run_ended", LOG_INT("run", task->run_id), LOG_STR("export", task->export_name),
             LOG_STR("state", run_state_name(record->state)),
             LOG_STR("reason", run_reason_name(ending->reason)), LOG_STR("detail", ending->detail),
             LOG_INT("read", counts->read), LOG_INT("invalid", counts->invalid),
             LOG_INT("duplicate", counts->duplicate), LOG_INT("unchanged", counts->unchanged),
             LOG_INT("selected", counts->selected), LOG_INT("accepted", record->accepted),
             LOG_INT("rejected", record->rejected), LOG_INT("left", counts->left),
             LOG_INT("removed", record->removed), LOG_INT("requests", record->requests),
             LOG_INT("throttled", record->throttled), LOG_INT("retries", record->retries),
             LOG_STR("trace", task->traceparent));
}

/*
 * Members are counted as they are recorded, under any owner of the run. Where it was
 * ended while members were still read, the planner's last count may be behind.
 */
static void count_members(struct run_metrics *run_metrics, const struct run_record *record)
{
    struct run_counts counts = record->counts;
    int64_t done = record->accepted + record->rejected;

    if (counts.selected < done)
        counts.selected = done;
    run_metrics_counts(run_metrics, &counts, record->removed);
}

static void count_end(struct run_metrics *run_metrics, const struct run_ending *ending,
                      const struct run_record *record)
{
    (void)atomic_fetch_add(&run_metrics->runs_ended[record->state], 1);
    if (record->state == RUN_FAILED)
        run_metrics_failure(run_metrics, ending->reason);
}

static bool write_end(const struct run_options *options, struct db *db, const struct run_task *task,
                      const struct run_ending *ending, struct error *err)
{
    struct run_record record;

    if (!runs_end(db, task, ending, &record, err))
        return false;
    if (!run_state_is_end(record.state))
        return error_set(err, ERROR_RETRY, "there are batches that were not sent");
    log_end(task, ending, &record);
    count_end(options->run_metrics, ending, &record);
    count_members(options->run_metrics, &record);
    return true;
}

void run_note_closed(struct run_metrics *run_metrics, const struct run_closed *closed)
{
    log_info("run_closed", LOG_INT("run", closed->run_id), LOG_STR("export", closed->export_name),
             LOG_STR("state", run_state_name(closed->state)),
             LOG_STR("reason", run_reason_name(closed->reason)));
    (void)atomic_fetch_add(&run_metrics->runs_ended[closed->state], 1);
    if (closed->state == RUN_FAILED)
        run_metrics_failure(run_metrics, closed->reason);
}

/* The connection is marked, unless it has got another key meanwhile: then the run continues. */
static bool mark_connection(struct db *db, const struct run_task *task, struct error *err)
{
    bool marked;

    if (!runs_mark_attention(db, task, REASON_KEY_REFUSED, &marked, err))
        return false;
    return marked ||
           error_set(err, ERROR_RETRY, "the key was refused, and there is a new one by now");
}

/* False with ERROR_LOST: nothing was written, the run is not this take's any more. */
static bool conclude(const struct run_options *options, struct db *db, const struct run_task *task,
                     const struct delivery_loop_result *result, struct error *err)
{
    struct run_ending ending = { RUN_SUCCEEDED, REASON_NONE, NULL };

    switch (result->outcome) {
    case DELIVERY_LOOP_DONE:
        if (result->reason != REASON_NONE)
            ending = (struct run_ending){ RUN_SUCCEEDED, result->reason, result->detail };
        break;
    case DELIVERY_LOOP_FAILED:
        if (result->key_refused && !mark_connection(db, task, err))
            return false;
        ending = (struct run_ending){ RUN_FAILED, result->reason, result->detail };
        break;
    case DELIVERY_LOOP_CANCELLED:
        ending = (struct run_ending){ RUN_CANCELLED, result->reason, result->detail };
        break;
    case DELIVERY_LOOP_DRAINED:
        log_info("run_given_back", LOG_INT("run", task->run_id),
                 LOG_STR("export", task->export_name), LOG_STR("trace", task->traceparent));
        return runs_give_back(db, task, RUN_DRAINED, err);
    case DELIVERY_LOOP_PARKED:
        log_debug("run_parked", LOG_INT("run", task->run_id), LOG_STR("export", task->export_name),
                  LOG_INT("park_ms", result->parking.park_ms), LOG_STR("trace", task->traceparent));
        return runs_park(db, task, &result->parking, err);
    case DELIVERY_LOOP_RELINQUISHED:
        return error_set(err, result->relinquish_kind, "%s", result->detail);
    }
    return write_end(options, db, task, &ending, err);
}

static bool open_client(const struct run_options *options, const struct run_task *task,
                        struct client **client, struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;

    if (!task->sealed_key)
        return error_set(err, ERROR_INPUT, "the connection has no key");
    if (!seal_open(options->pair, task->sealed_key, task->sealed_key_len, &key, err))
        return false;
    struct client_options how = {
        .base_url = options->settings->klaviyo_base_url,
        .revision = options->settings->klaviyo_revision,
        .user_agent = options->user_agent,
        .api_key = key.bytes,
        .timeout_ms = options->settings->request_timeout_seconds * 1000,
        .allow_http = options->settings->klaviyo_allow_http,
        .ca_file = options->settings->klaviyo_ca_file,
    };
    *client = client_new(&how, err);
    return *client != NULL;
}

/* A run that was parked continues; it was not taken over from another worker. */
static void note_taken(const struct run_options *options, const struct run_task *task)
{
    if (task->resume.wait_reason != REASON_NONE) {
        log_debug("run_unparked", LOG_INT("run", task->run_id), LOG_INT("epoch", task->epoch),
                  LOG_STR("export", task->export_name), LOG_STR("trace", task->traceparent));
        return;
    }
    log_info("run_taken", LOG_INT("run", task->run_id), LOG_INT("epoch", task->epoch),
             LOG_STR("take", task->take_id), LOG_STR("export", task->export_name),
             LOG_INT("taken_over", task->taken_over), LOG_INT("full", task->full),
             LOG_STR("trace", task->traceparent));
    (void)atomic_fetch_add(&options->run_metrics->runs_taken, 1);
    (void)atomic_fetch_add(&options->run_metrics->runs_taken_over, task->taken_over);
}

static bool open_and_deliver(const struct run_options *options, struct db *db,
                             const struct run_task *task, int64_t taken_ms, struct error *err)
{
    CLEANUP(client_freep) struct client *client = NULL;
    struct delivery_loop_options delivery = { .settings = options->settings,
                                              .task = task,
                                              .control = options->control,
                                              .run_metrics = options->run_metrics,
                                              .db = db,
                                              .wakeup_fd = options->wakeup_fd,
                                              .taken_ms = taken_ms,
                                              .stop_fd = options->stop_fd };
    struct delivery_loop_result result = { .outcome = DELIVERY_LOOP_RELINQUISHED };
    struct error why = ERROR_INIT;

    if (open_client(options, task, &client, &why)) {
        delivery.client = client;
        delivery_loop_run(&delivery, &result);
        return conclude(options, db, task, &result, err);
    }
    if (why.kind != ERROR_INPUT)
        return error_set(err, why.kind, "%s", why.text);
    struct run_ending ending = { RUN_FAILED, REASON_KEY_UNREADABLE, why.text };
    return write_end(options, db, task, &ending, err);
}

/*
 * Another process ended the run while it was in progress here: a command, or another worker's
 * take, which has counted its failure. No other worker logs the rest. Or it was this worker,
 * whose response was lost: then nobody has counted a failure.
 */
static bool was_ended(struct run_metrics *run_metrics, struct db *db, const struct run_task *task,
                      bool counts_failure)
{
    struct run_record record;
    struct error ignored = ERROR_INIT;

    if (!runs_read_ended(db, task, &record, &ignored) || !run_state_is_end(record.state))
        return false;
    struct run_ending ending = { record.state, record.reason, record.detail };
    log_end(task, &ending, &record);
    count_members(run_metrics, &record);
    if (counts_failure || record.state != RUN_FAILED)
        count_end(run_metrics, &ending, &record);
    return true;
}

void run_note_ended(struct run_metrics *run_metrics, struct db *db, const struct run_task *task)
{
    (void)was_ended(run_metrics, db, task, true);
}

bool run_execute(const struct run_options *options, struct db *db, const struct run_task *task,
                 int64_t taken_ms, struct error *err)
{
    struct error why = ERROR_INIT;

    note_taken(options, task);
    if (open_and_deliver(options, db, task, taken_ms, &why) ||
        (why.kind == ERROR_LOST && was_ended(options->run_metrics, db, task, false)))
        return true;
    log_warn("run_let_go", LOG_INT("run", task->run_id), LOG_STR("export", task->export_name),
             LOG_STR("why", why.text), LOG_STR("trace", task->traceparent));
    return error_set(err, why.kind, "%s", why.text);
}
