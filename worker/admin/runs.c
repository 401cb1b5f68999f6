#include "worker/admin/runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/parse.h"
#include "common/strbuf.h"
#include "worker/admin/follow.h"
#include "worker/admin/progress.h"
#include "worker/cli/arguments.h"
#include "worker/cli/duration.h"
#include "worker/cli/listing.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"
#include "worker/store/history.h"
#include "worker/store/run_state.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000, SUMMARY_MAX_BYTES = 8192 };

static bool check_state(struct context *context, const char *state, struct error *err)
{
    enum run_state known;

    if (!state || run_state_of(state, &known))
        return true;
    return wrong_usage(context, err, "%s is no state of a run: those are " RUN_STATE_NAMES, state);
}

static bool read_since(struct context *context, struct history_filter *filter, struct error *err)
{
    const char *since = arguments_value(context->arguments, "--since");

    return !since || (duration_parse(since, &filter->since_s) && filter->since_s > 0) ||
           wrong_usage(context, err,
                       "--since %s: it is a whole number and a unit, such as 90m, 26h or 7d",
                       since);
}

static bool run_id_of(struct context *context, int64_t *run_id, struct error *err)
{
    if (parse_int64(context->arguments->operands[0], 1, INT64_MAX, run_id))
        return true;
    return wrong_usage(context, err, "\"%s\" is not the number of a run: runs list shows them",
                       context->arguments->operands[0]);
}

static bool list(struct context *context, struct error *err)
{
    static const struct column columns[] = {
        { "RUN", "id", COLUMN_NUMBER, COLUMN_STAYS },
        { "EXPORT", "export", COLUMN_TEXT, COLUMN_IS_CUT },
        { "STATE", "state", COLUMN_STATE, COLUMN_STAYS },
        { "REASON", "reason", COLUMN_TEXT, COLUMN_GOES },
        { "STARTED", "started_at", COLUMN_TIME, COLUMN_GOES + 1 },
        { "READ", "counts.read", COLUMN_NUMBER, COLUMN_GOES + 4 },
        { "INVALID", "counts.invalid", COLUMN_NUMBER, COLUMN_GOES + 3 },
        { "SELECTED", "counts.selected", COLUMN_NUMBER, COLUMN_GOES + 5 },
        { "ACCEPTED", "counts.accepted", COLUMN_NUMBER, COLUMN_STAYS },
        { "REJECTED", "counts.rejected", COLUMN_NUMBER, COLUMN_GOES + 2 },
        { "REQUESTS", "requests", COLUMN_NUMBER, COLUMN_GOES + 6 },
        COLUMNS_END,
    };
    struct history_filter filter = { .export_name = arguments_value(context->arguments, "--export"),
                                     .state = arguments_value(context->arguments, "--state"),
                                     .limit = LIMIT_DEFAULT };
    char *json;

    if (!check_state(context, filter.state, err) || !read_since(context, &filter, err) ||
        !arguments_number(context, "--limit", (struct number_range){ 1, LIMIT_MAX }, &filter.limit,
                          err) ||
        !history_list(context->db, &filter, &json, err))
        return false;
    bool ok = listing_print(context, columns, json, "There is no such run.", err);
    free(json);
    return ok;
}

/* For people: what is among the counts is shown nowhere else. */
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

static bool show(struct context *context, struct error *err)
{
    int64_t run_id;
    char *json;

    if (!run_id_of(context, &run_id, err) || !history_show(context->db, run_id, &json, err))
        return false;
    bool ok = arguments_flag(context->arguments, "--json") ? details_print(json, true, err)
                                                           : print_run(json, err);
    free(json);
    return ok;
}

/* "3 rows were not delivered: 2 email_malformed (local), 1 invalid (import)." */
static void print_summary(const json_t *rows)
{
    CLEANUP(strbuf_release) struct strbuf line = STRBUF_INIT(SUMMARY_MAX_BYTES);
    CLEANUP(json_freep) json_t *sums = json_object();
    const char *what;
    json_t *sum;

    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        char key[160];

        (void)snprintf(key, sizeof key, "%.100s (%.20s)",
                       json_string_value(json_object_get(row, "code")),
                       json_string_value(json_object_get(row, "stage")));
        json_int_t before = json_integer_value(json_object_get(sums, key));
        (void)json_object_set_new(sums, key, json_integer(before + 1));
    }
    json_object_foreach(sums, what, sum)
        strbuf_addf(&line, "%s%" JSON_INTEGER_FORMAT " %s", line.len > 0 ? ", " : "",
                    json_integer_value(sum), what);
    if (line.len > 0)
        print_line("%zu row%s not delivered: %s.", json_array_size(rows),
                   json_array_size(rows) == 1 ? " was" : "s were", line.data);
}

static bool print_rejections(struct context *context, const char *json, struct error *err)
{
    static const struct column columns[] = {
        { "STAGE", "stage", COLUMN_TEXT, COLUMN_STAYS },
        { "CODE", "code", COLUMN_TEXT, COLUMN_STAYS },
        { "EMAIL", "email", COLUMN_TEXT, COLUMN_IS_CUT },
        { "PROFILE", "profile_id", COLUMN_TEXT, COLUMN_GOES },
        { "DETAIL", "detail", COLUMN_TEXT, COLUMN_IS_CUT },
        COLUMNS_END,
    };
    struct table_style style;

    if (!listing_style_of(context, &style, err))
        return false;
    if (style.form == TABLE_FOR_PEOPLE) {
        CLEANUP(json_freep) json_t *rows = json_loads(json, 0, NULL);
        print_summary(rows);
    }
    return table_print_styled(columns, json, &style, "Nothing was rejected in this run.", err);
}

static bool rejections(struct context *context, struct error *err)
{
    int64_t run_id;
    char *json;

    if (!run_id_of(context, &run_id, err) || !history_rejections(context->db, run_id, &json, err))
        return false;
    bool ok = print_rejections(context, json, err);
    free(json);
    return ok;
}

static bool cancel(struct context *context, struct error *err)
{
    enum history_cancel how;
    int64_t run_id;

    if (!run_id_of(context, &run_id, err) || !history_cancel(context->db, run_id, &how, err))
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

static bool watch(struct context *context, struct error *err)
{
    int64_t run_id = 0;

    if (context->arguments->n_operands > 0 ? !run_id_of(context, &run_id, err)
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
    { "--since", OPTION_VALUE, false, "DURATION", "only runs of the last 90m, 26h, 7d, …" },
    { "--limit", OPTION_VALUE, false, "N", "how many, newest first (100)" },
    OPTIONS_OF_LISTING,
    OPTIONS_END,
};
static const struct option_spec json_options[] = { OPTION_JSON, OPTIONS_END };
static const struct option_spec rejections_options[] = { OPTIONS_OF_LISTING, OPTIONS_END };

/* clang-format off */
const struct command runs_commands[] = {
    { .words = "runs list", .who = READERS, .operands = "",
      .options = list_options, .needs = NEEDS_DATABASE,
      .summary = "list runs, newest first", .run = list,
      .details = "States: queued, running, waiting, succeeded, succeeded_with_rejections, failed,\n"
                 "cancelled." },
    { .words = "runs show", .who = READERS, ONE_OPERAND("ID"),
      .options = json_options, .needs = NEEDS_DATABASE,
      .summary = "show a run: state, reason, times, counts", .run = show },
    { .words = "runs watch", .who = READERS, .operands = "[ID]", .max_operands = 1,
      .needs = NEEDS_DATABASE,
      .summary = "follow a run to its end; succeeds if the run does", .run = watch },
    { .words = "runs cancel", .who = EXPORTERS, ONE_OPERAND("ID"),
      .needs = NEEDS_DATABASE, .run = cancel,
      .summary = "stop a run at the next safe point; what was sent stays sent" },
    { .words = "runs rejections", .who = EXPORTERS, ONE_OPERAND("ID"),
      .options = rejections_options, .needs = NEEDS_DATABASE,
      .summary = "list the rows that were not delivered, and why", .run = rejections },
    { .words = NULL },
};
/* clang-format on */
