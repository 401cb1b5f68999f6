/*
 * The task `export try`: sends a few rows for real, as a run of its own through
 * the code of all runs. Arguments: rows (1 to 100) or profile (an id). Answer:
 * run (as runs show has it), rows ([{"profile_id", "email", "result", "code",
 * "detail", "payload"}]). result: accepted, rejected, or unknown, where the run
 * did not come to its end or Klaviyo refused rows without naming them.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/json.h"
#include "common/version.h"
#include "common/wakeup.h"
#include "worker/export/run.h"
#include "worker/export/trial_plan.h"
#include "worker/klaviyo/member_json.h"
#include "worker/store/history.h"
#include "worker/store/trials.h"
#include "worker/task/task_arguments.h"
#include "worker/task/task_kind.h"

enum {
    LOOK_EVERY_MS = 250,
    WAIT_MS = 5 * 60 * 1000, /* for a run that cannot continue; it does so later, by itself */
    PROFILE_MAX_BYTES = 1000,
    READS_MAX = 3, /* each time something changed meanwhile */
};

struct trying {
    const struct task_context *context;
    struct trial_order order;
    int64_t rows;
    const char *profile; /* NULL: any */
    int64_t run_id;
    json_t *sent; /* the rows: profile_id, email, payload */
};

/* -- what is asked for -- */

static bool read_arguments(struct trying *t, const json_t *arguments, struct error *err)
{
    const json_t *rows = json_object_get(arguments, "rows");

    t->rows = json_integer_value(rows);
    t->profile = json_string_value(json_object_get(arguments, "profile"));
    if (t->profile && !rows && strlen(t->profile) <= PROFILE_MAX_BYTES) {
        t->rows = 1;
        return true;
    }
    if (!t->profile && t->rows >= 1 && t->rows <= TRIAL_MAX_ROWS)
        return true;
    return error_set(err, ERROR_INPUT, "a trial sends 1 to %d rows, or one profile",
                     TRIAL_MAX_ROWS);
}

/* -- the rows -- */

static void ignore_count(void *opaque, const struct member_count *count)
{
    (void)opaque;
    (void)count;
}

static bool go_on(void *opaque, const struct selection *selection)
{
    const struct trying *t = opaque;
    struct error ignored = ERROR_INIT;

    return task_progress(t->context, "reading members", selection->counts.read, 0, &ignored);
}

/* Nothing may be sent: why. */
static bool none_chosen(const struct trying *t, const struct trial *trial, struct error *err)
{
    if (!t->profile)
        return error_set(err, ERROR_INPUT,
                         "export %s has no member that may be sent: export preview counts why",
                         t->order.export_name);
    if (trial->code)
        return error_set(err, ERROR_INPUT, "profile %s is not sent: %s", t->profile, trial->code);
    if (trial->profile_seen)
        return error_set(err, ERROR_INPUT,
                         "profile %s is not sent: another profile with a lower id has its address",
                         t->profile);
    return error_set(err, ERROR_INPUT, "profile %s is no member of the segments of export %s",
                     t->profile, t->order.export_name);
}

static bool keep_rows(struct trying *t, const struct trial *trial, struct error *err)
{
    t->sent = json_array();
    for (int64_t i = 0; i < trial->n; i++) {
        const struct trial_row *row = &trial->row[i];
        struct bytes object = { row->object, strlen(row->object) };
        json_t *kept = json_pack("{s:s, s:s, s:o}", "profile_id", row->profile_id, "email",
                                 row->address, "payload", member_json_load(object));
        if (!kept || json_array_append_new(t->sent, kept) != 0)
            return error_no_memory(err);
    }
    return true;
}

/* -- the run -- */

/* Returns when the run has ended, is parked, given back as the task was stopped, or is lost. */
static bool execute(struct trying *t, const struct run_task *run, int64_t taken_ms,
                    struct error *err)
{
    const struct task_context *context = t->context;
    struct error why = ERROR_INIT;
    int wakeup_fd = wakeup_open(err);

    if (wakeup_fd < 0)
        return false;
    const struct run_options options = { .settings = context->settings,
                                         .pair = context->pair,
                                         .user_agent = version_user_agent(),
                                         .control = context->control,
                                         .run_metrics = context->run_metrics,
                                         .wakeup_fd = wakeup_fd,
                                         .stop_fd = context->stop_fd };
    if (!run_execute(&options, context->db, run, taken_ms, &why) && why.kind != ERROR_LOST)
        (void)!runs_give_back(context->db, run, RUN_TROUBLED, &why);
    (void)close(wakeup_fd);
    return true;
}

/* *run: NULL where the rows are to be read again. */
static bool begin(struct trying *t, struct trial_plan *plan, struct run_task **run,
                  struct error *err)
{
    CLEANUP(json_freep) json_t *kept = json_pack("{s:O}", "rows", t->sent);
    char *text = json_dumps(kept, 0);

    if (!text)
        return error_no_memory(err);
    t->order.kept = text;
    bool ok = trials_begin(t->context->db, &t->order, run, err);
    free(text);
    if (!ok || !*run)
        return ok;
    t->run_id = (*run)->run_id;
    FAILPOINT("trial_begin.after");
    if (!trial_plan_write(plan, *run, err))
        return false;
    (*run)->resume.planned = true;
    return true;
}

static bool send_rows(struct trying *t, struct trial_plan *plan, struct error *err)
{
    CLEANUP(run_task_freep) struct run_task *run = NULL;
    int64_t taken_ms = clock_ms();

    if (plan->trial.n == 0)
        return none_chosen(t, &plan->trial, err);
    if (!keep_rows(t, &plan->trial, err) ||
        !task_progress(t->context, "sending rows", plan->trial.n, 0, err) ||
        !begin(t, plan, &run, err))
        return false;
    if (!run)
        return true;
    FAILPOINT("trial_plan.after");
    return execute(t, run, taken_ms, err);
}

static bool read_and_send(struct trying *t, struct error *err)
{
    const struct scan_observer observer = {
        .opaque = t, .counted = ignore_count, .go_on = go_on, .stop_fd = t->context->stop_fd
    };
    CLEANUP(run_task_freep) struct run_task *task = NULL;
    struct trial_plan plan;

    if (!run_task_for_preview(t->context->db, t->order.export_name, &task, err))
        return false;
    trial_plan_init(&plan, &t->context->settings->database_url, t->rows, t->profile);
    bool ok = trial_plan_read(&plan, task, &observer, err) && send_rows(t, &plan, err);
    trial_plan_release(&plan);
    return ok;
}

/* run_id stays 0 where the rows are to be read again. */
static bool try_once(struct trying *t, struct error *err)
{
    char *basis = NULL;

    if (!trials_basis(t->context->db, t->order.export_name, &basis, err))
        return false;
    t->order.basis = basis;
    bool ok = read_and_send(t, err);
    t->order.basis = NULL;
    free(basis);
    return ok;
}

static void forget_rows(struct trying *t)
{
    json_decref(t->sent);
    t->sent = NULL;
    t->run_id = 0;
}

/* What was read of another list, or before somebody was taken off it, is not sent. */
static bool start(struct trying *t, struct error *err)
{
    for (int i = 0; i < READS_MAX; i++) {
        forget_rows(t);
        if (!try_once(t, err))
            return false;
        if (t->run_id != 0)
            return true;
    }
    return error_set(err, ERROR_RETRY,
                     "each time the members of export %s were read it was changed, a run of it "
                     "ended, or somebody was forgotten: try again",
                     t->order.export_name);
}

/* -- its end -- */

static json_t *look(struct trying *t, struct error *err)
{
    char *text = NULL;

    if (!db_ready(t->context->db, err) || !history_show(t->context->db, t->run_id, &text, err))
        return NULL;
    json_t *run = json_loads(text, 0, NULL);
    free(text);
    if (!run)
        (void)error_no_memory(err);
    return run;
}

static bool has_ended(const json_t *run)
{
    return json_is_string(json_object_get(run, "finished_at"));
}

static bool go_on_with(struct trying *t, struct error *err)
{
    CLEANUP(run_task_freep) struct run_task *run = NULL;
    int64_t taken_ms = clock_ms();

    if (!trials_retake(t->context->db, t->run_id, &t->order, &run, err))
        return false;
    return !run || execute(t, run, taken_ms, err);
}

static void rest(const struct task_context *context)
{
    struct pollfd fd = { .fd = context->stop_fd ? *context->stop_fd : -1, .events = POLLIN };

    (void)poll(&fd, 1, LOOK_EVERY_MS);
}

/* Any worker may bring it to its end. */
static json_t *wait_for_end(struct trying *t, struct error *err)
{
    int64_t until_ms = clock_ms() + WAIT_MS;

    for (;;) {
        CLEANUP(json_freep) json_t *run = look(t, err);

        if (!run || has_ended(run) || clock_ms() > until_ms)
            return json_take(&run);
        if (!task_progress(t->context, "waiting for the run", t->run_id, 0, err) ||
            !go_on_with(t, err))
            return NULL;
        rest(t->context);
    }
}

/* -- the answer -- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static const json_t *refusal_of(const json_t *rejections, const json_t *row)
{
    size_t i;
    json_t *rejection;

    json_array_foreach(rejections, i, rejection)
        if ((*text_of(rejection, "profile_id") &&
             strcmp(text_of(rejection, "profile_id"), text_of(row, "profile_id")) == 0) ||
            strcasecmp(text_of(rejection, "email"), text_of(row, "email")) == 0)
            return rejection;
    return NULL;
}

static bool some_are_unnamed(const json_t *rejections)
{
    size_t i;
    json_t *rejection;

    json_array_foreach(rejections, i, rejection)
        if (!*text_of(rejection, "email") && !*text_of(rejection, "profile_id"))
            return true;
    return false;
}

static void judge(json_t *row, const json_t *rejections, bool accepted)
{
    const json_t *refusal = refusal_of(rejections, row);
    const char *result = refusal ? "rejected" : accepted ? "accepted" : "unknown";

    (void)json_object_set_new(row, "result", json_string(result));
    if (!refusal)
        return;
    (void)json_object_set_new(row, "code", json_string(text_of(refusal, "code")));
    (void)json_object_set_new(row, "detail", json_string(text_of(refusal, "detail")));
}

static bool compose(struct trying *t, json_t *run, json_t **answer, struct error *err)
{
    char *text = NULL;

    if (!history_rejections(t->context->db, t->run_id, &text, err))
        return false;
    CLEANUP(json_freep) json_t *rejections = json_loads(text, 0, NULL);
    free(text);
    bool succeeded = strncmp(text_of(run, "state"), "succeeded", strlen("succeeded")) == 0;
    bool accepted = succeeded && !some_are_unnamed(rejections);
    size_t i;
    json_t *row;
    json_array_foreach(t->sent, i, row)
        judge(row, rejections, accepted);
    *answer = json_pack("{s:O, s:O}", "run", run, "rows", t->sent);
    return *answer || error_no_memory(err);
}

/* -- the task -- */

/* Of a worker before: the trial that it began. */
static bool look_for_earlier(struct trying *t, struct error *err)
{
    char *text = NULL;

    if (!t->order.task)
        return true;
    if (!trials_kept(t->context->db, t->order.task, &text, err))
        return false;
    CLEANUP(json_freep) json_t *kept = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    t->run_id = json_integer_value(json_object_get(kept, "run"));
    t->sent = json_incref(json_object_get(kept, "rows"));
    return true;
}

/* It ended before its rows were written: nothing was sent. */
static bool was_in_vain(const struct trying *t, const json_t *run)
{
    const json_t *counts = json_object_get(run, "counts");

    return strcmp(text_of(run, "state"), "succeeded") == 0 &&
           json_integer_value(json_object_get(counts, "selected")) <
               (json_int_t)json_array_size(t->sent);
}

static bool bring_about(struct trying *t, json_t **answer, struct error *err)
{
    if (!look_for_earlier(t, err))
        return false;
    bool earlier = t->run_id != 0;
    if (!earlier && !start(t, err))
        return false;
    CLEANUP(json_freep) json_t *run = wait_for_end(t, err);
    if (!run)
        return false;
    if (earlier && was_in_vain(t, run)) {
        json_decref(json_take(&run));
        if (!start(t, err) || !(run = wait_for_end(t, err)))
            return false;
    }
    return compose(t, run, answer, err);
}

bool export_try_task(const struct task_context *context, const json_t *arguments, json_t **answer,
                     struct error *err)
{
    struct trying t = { .context = context,
                        .order = { .export_name = task_name(arguments),
                                   .worker = context->worker,
                                   .lease_ms = context->settings->lease_seconds * 1000,
                                   .task = context->task } };
    bool ok = read_arguments(&t, arguments, err) &&
              (context->pair ||
               error_set(err, ERROR_INPUT, "%s: the stored key is opened with it",
                         context->no_pair ? context->no_pair : "SECRET_KEY_FILE is not set")) &&
              bring_about(&t, answer, err);

    json_decref(t.sent);
    return ok;
}
