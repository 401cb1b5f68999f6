#include "worker/admin/runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/parse.h"
#include "worker/admin/follow.h"
#include "worker/admin/progress.h"
#include "worker/cli/arguments.h"
#include "worker/cli/json.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"
#include "worker/store/history.h"
#include "worker/store/run_state.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000 };

static bool check_state(struct context *context, const char *state, struct error *err)
{
    enum run_state known;

    if (!state || run_state_of(state, &known))
        return true;
    return wrong_usage(context, err,
                       "%s is no state of a run: those are queued, running, waiting, succeeded, "
                       "succeeded_with_rejections, failed and cancelled",
                       state);
}

static bool run_id_of(struct context *context, const struct arguments *arguments, int64_t *run_id,
                      struct error *err)
{
    if (parse_int64(arguments->operands[0], 1, INT64_MAX, run_id))
        return true;
    return wrong_usage(context, err, "\"%s\" is not the number of a run: runs list shows them",
                       arguments->operands[0]);
}

static bool list(struct context *context, const struct arguments *arguments, struct error *err)
{
    static const struct column columns[] = { { "RUN", "id", true, false },
                                             { "EXPORT", "export", false, true },
                                             { "STATE", "state", false, false },
                                             { "REASON", "reason", false, false },
                                             { "STARTED", "started_at", false, false },
                                             { "READ", "counts.read", true, false },
                                             { "INVALID", "counts.invalid", true, false },
                                             { "SELECTED", "counts.selected", true, false },
                                             { "ACCEPTED", "counts.accepted", true, false },
                                             { "REJECTED", "counts.rejected", true, false },
                                             { "REQUESTS", "requests", true, false },
                                             { NULL, NULL, false, false } };
    struct history_filter filter = { .export_name = arguments_value(arguments, "--export"),
                                     .state = arguments_value(arguments, "--state"),
                                     .limit = LIMIT_DEFAULT };
    char *json;

    if (!check_state(context, filter.state, err) ||
        !arguments_number(context, arguments, "--limit", (struct number_range){ 1, LIMIT_MAX },
                          &filter.limit, err) ||
        !history_list(context->db, &filter, &json, err))
        return false;
    bool ok = table_print(columns, json, arguments_flag(arguments, "--json"),
                          "There is no such run.", err);
    free(json);
    return ok;
}

/* For people: what stands among the counts stands nowhere else. */
static bool print_run(const char *json, struct error *err)
{
    static const char *const counted[] = { "requests", "throttled", "retries" };
    CLEANUP(json_freep) json_t *run = json_loads(json, 0, NULL);

    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++)
        (void)json_object_del(run, counted[i]);
    char *text = json_dumps(run, 0);
    bool ok = text ? details_print(text, false, err) : error_no_memory(err);
    free(text);
    return ok;
}

static bool show(struct context *context, const struct arguments *arguments, struct error *err)
{
    int64_t run_id;
    char *json;

    if (!run_id_of(context, arguments, &run_id, err) ||
        !history_show(context->db, run_id, &json, err))
        return false;
    bool ok =
        arguments_flag(arguments, "--json") ? details_print(json, true, err) : print_run(json, err);
    free(json);
    return ok;
}

static bool rejections(struct context *context, const struct arguments *arguments,
                       struct error *err)
{
    static const struct column columns[] = {
        { "STAGE", "stage", false, false },  { "CODE", "code", false, false },
        { "EMAIL", "email", false, true },   { "PROFILE", "profile_id", false, false },
        { "DETAIL", "detail", false, true }, { NULL, NULL, false, false }
    };
    int64_t run_id;
    char *json;

    if (!run_id_of(context, arguments, &run_id, err) ||
        !history_rejections(context->db, run_id, &json, err))
        return false;
    bool ok = table_print(columns, json, arguments_flag(arguments, "--json"),
                          "Nothing was rejected in this run.", err);
    free(json);
    return ok;
}

static bool cancel(struct context *context, const struct arguments *arguments, struct error *err)
{
    enum history_cancel how;
    int64_t run_id;

    if (!run_id_of(context, arguments, &run_id, err) ||
        !history_cancel(context->db, run_id, &how, err))
        return false;
    switch (how) {
    case HISTORY_CANCELLED:
        print_line("Cancelled run %" PRId64 ".", run_id);
        return true;
    case HISTORY_ASKED:
        print_line("Run %" PRId64 " ends within seconds, when its worker has heard of it: runs "
                   "show %" PRId64 " then says what had been sent.",
                   run_id, run_id);
        return true;
    case HISTORY_ENDED_BEFORE:
        break;
    }
    return error_set(err, ERROR_INPUT, "run %" PRId64 " has ended already: nothing to cancel",
                     run_id);
}

/* -- watch -- */

static bool read_run_state(void *opaque, struct db *db, json_t **runs, bool *over,
                           struct error *err)
{
    const int64_t *run_id = opaque;
    char *json;

    if (!history_show(db, *run_id, &json, err))
        return false;
    json_t *run = json_loads(json, 0, NULL);
    free(json);
    json_t *array = json_array();
    bool ended = run_has_ended(run);
    if (json_array_append_new(array, run) != 0) {
        json_decref(array);
        return error_no_memory(err);
    }
    *runs = array;
    *over = ended;
    return true;
}

static bool watch(struct context *context, const struct arguments *arguments, struct error *err)
{
    int64_t run_id = 0;

    if (arguments->n_operands > 0 ? !run_id_of(context, arguments, &run_id, err)
                                  : !history_newest(context->db, &run_id, err))
        return false;
    if (run_id == 0)
        return error_set(err, ERROR_INPUT,
                         "there is no run yet: klaviyo-worker publish starts one");
    return follow_to_the_end(context, &(struct follow){ read_run_state, &run_id }, err);
}

static const struct option_spec list_options[] = {
    { "--export", OPTION_VALUE, false, "NAME", "only runs of this export" },
    { "--state", OPTION_VALUE, false, "STATE", "only runs in this state" },
    { "--limit", OPTION_VALUE, false, "N", "how many, newest first (100)" },
    OPTION_JSON,
    OPTIONS_END,
};
static const struct option_spec json_options[] = { OPTION_JSON, OPTIONS_END };

/* clang-format off */
const struct command runs_commands[] = {
    { .words = "runs list", .who = READERS, .operands = "",
      .options = list_options, .needs = NEEDS_DATABASE,
      .summary = "runs, newest first", .run = list,
      .details = "States: queued, running, waiting, succeeded, succeeded_with_rejections, failed,\n"
                 "cancelled." },
    { .words = "runs show", .who = READERS, ONE_OPERAND("ID"),
      .options = json_options, .needs = NEEDS_DATABASE,
      .summary = "one run: state, reason, times, counts", .run = show },
    { .words = "runs watch", .who = READERS, .operands = "[ID]", .max_operands = 1,
      .needs = NEEDS_DATABASE,
      .summary = "follow a run to its end; succeeds if it does", .run = watch },
    { .words = "runs cancel", .who = EXPORTERS, ONE_OPERAND("ID"),
      .needs = NEEDS_DATABASE, .run = cancel,
      .summary = "stop a run at the next safe point; what was sent stays sent" },
    { .words = "runs rejections", .who = EXPORTERS, ONE_OPERAND("ID"),
      .options = json_options, .needs = NEEDS_DATABASE,
      .summary = "rows that were not delivered, and why", .run = rejections },
    { .words = NULL },
};
/* clang-format on */
