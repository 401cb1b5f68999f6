#include "worker/export/run.h"

#include "common/log.h"
#include "worker/export/deliver.h"

static void log_end(const struct run_task *task, const struct run_ending *ending)
{
    log_info("run_ended", LOG_INT("run", task->run_id), LOG_STR("export", task->export_name),
             LOG_STR("state", ending->state),
             LOG_STR("reason", ending->reason ? ending->reason : ""),
             LOG_STR("detail", ending->detail ? ending->detail : ""));
}

static void count_end(struct run_control *control, const struct run_ending *ending,
                      enum run_end how)
{
    bool failed = ending->state[0] == 'f';
    size_t succeeded = how == RUN_END_WITH_REJECTIONS ? 1 : 0;
    size_t which = ending->state[0] == 's' ? succeeded : failed ? 2 : 3;

    (void)atomic_fetch_add(&control->runs_ended[which], 1);
    if (failed)
        tally_failure(&control->tally, ending->reason);
}

static bool write_end(const struct run_options *options, struct db *db, const struct run_task *task,
                      const struct run_ending *ending, struct error *err)
{
    enum run_end how;

    if (!runs_end(db, task, ending, &how, err))
        return err->kind == ERROR_LOST;
    if (how == RUN_END_UNFINISHED)
        return error_set(err, ERROR_RETRY, "there are batches that were not sent");
    log_end(task, ending);
    count_end(options->control, ending, how);
    return true;
}

/* Ours no longer, or not to be reached: nothing is written. */
static bool let_go(const struct run_task *task, enum error_kind kind, const char *why,
                   struct error *err)
{
    log_warn("run_let_go", LOG_INT("run", task->run_id), LOG_STR("export", task->export_name),
             LOG_STR("why", why));
    return error_set(err, kind, "%s", why);
}

/* The connection is marked, unless it has got another key meanwhile: then the run goes on. */
static bool mark_connection(struct db *db, const struct run_task *task, struct error *err)
{
    bool marked;

    if (!runs_mark_attention(db, task, "key_refused", &marked, err))
        return false;
    return marked ||
           let_go(task, ERROR_RETRY, "the key was refused, and there is a new one by now", err);
}

static bool conclude(const struct run_options *options, struct db *db, const struct run_task *task,
                     const struct deliver_result *result, struct error *err)
{
    struct run_ending ending = { "succeeded", NULL, NULL };

    switch (result->outcome) {
    case DELIVER_DONE:
        break;
    case DELIVER_FAILED:
        if (result->key_refused && !mark_connection(db, task, err))
            return false;
        ending = (struct run_ending){ "failed", result->reason, result->detail };
        break;
    case DELIVER_CANCELLED:
        ending = (struct run_ending){ "cancelled", result->reason, result->detail };
        break;
    case DELIVER_DRAINED:
        log_info("run_given_back", LOG_INT("run", task->run_id));
        return runs_give_back(db, task, RUN_DRAINED, err);
    case DELIVER_LET_GO:
        return let_go(task, result->let_go_kind, result->detail, err);
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
        .allow_http = true, /* settings_load() has judged the URL */
    };
    *client = client_new(&how, err);
    return *client != NULL;
}

static bool plan_and_deliver(const struct run_options *options, struct db *db,
                             const struct run_task *task, struct client *client, int64_t taken_ms,
                             struct error *err)
{
    struct plan_options how = { options->settings->database_url, task, options->bell_fd };
    CLEANUP(plan_freep) struct plan *plan = plan_start(&how, err);
    struct deliver_result result = { .outcome = DELIVER_LET_GO };

    if (!plan)
        return false;
    struct deliver_options delivery = {
        options->settings, task, options->control, db, client, plan, options->bell_fd, taken_ms
    };
    deliver(&delivery, &result);
    plan_free(plan_take(&plan)); /* before the end is written: it writes for the run, too */
    return conclude(options, db, task, &result, err);
}

bool run_execute(const struct run_options *options, struct db *db, const struct run_task *task,
                 int64_t taken_ms, struct error *err)
{
    CLEANUP(client_freep) struct client *client = NULL;

    log_info("run_taken", LOG_INT("run", task->run_id), LOG_INT("epoch", task->epoch),
             LOG_STR("export", task->export_name), LOG_INT("taken_over", task->taken_over),
             LOG_INT("full", task->full));
    (void)atomic_fetch_add(&options->control->runs_taken, 1);
    (void)atomic_fetch_add(&options->control->runs_taken_over, task->taken_over);

    if (!open_client(options, task, &client, err)) {
        struct run_ending ending = { "failed", "key_unreadable", err->text };

        return err->kind == ERROR_INPUT && write_end(options, db, task, &ending, err);
    }
    return plan_and_deliver(options, db, task, client, taken_ms, err);
}
