/* `export try`: a worker sends a few rows for real; what Klaviyo said of each. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/json.h"
#include "worker/admin/export.h"
#include "worker/admin/progress.h"
#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"

enum { ROWS_MAX = 100 };

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static json_t *read_wish(struct context *context, struct error *err)
{
    const char *profile = arguments_value(context->arguments, "--profile");
    int64_t rows = 0;

    if (!arguments_number(context, "--rows", (struct number_range){ 1, ROWS_MAX }, &rows, err))
        return NULL;
    if ((rows > 0) == (profile != NULL)) {
        (void)wrong_usage(context, err, "export try needs --rows N or --profile ID");
        return NULL;
    }
    json_t *wish = profile ? json_pack("{s:s}", "profile", profile)
                           : json_pack("{s:I}", "rows", (json_int_t)rows);
    if (!wish && profile)
        (void)wrong_usage(context, err, "--profile: the id is not UTF-8");
    return wish;
}

static void print_row(const json_t *row)
{
    const char *code = text_of(row, "code"), *detail = text_of(row, "detail");
    struct error told_at_the_end = ERROR_INIT;

    print_line("%s (profile %s): %s%s%s%s%s", text_of(row, "email"), text_of(row, "profile_id"),
               text_of(row, "result"), *code ? ", " : "", code, *detail ? ": " : "", detail);
    (void)!print_json(json_object_get(row, "payload"), &told_at_the_end);
}

static void print_end(const json_t *run)
{
    const json_t *counts = json_object_get(run, "counts");

    print_line("Run %" PRId64 " %s: %" PRId64 " accepted, %" PRId64 " rejected, in %" PRId64
               " requests.",
               (int64_t)json_integer_value(json_object_get(run, "id")), text_of(run, "state"),
               (int64_t)json_integer_value(json_object_get(counts, "accepted")),
               (int64_t)json_integer_value(json_object_get(counts, "rejected")),
               (int64_t)json_integer_value(json_object_get(run, "requests")));
}

static bool print_answer(const json_t *answer, bool as_json, struct error *err)
{
    size_t i;
    json_t *row;

    if (as_json) {
        char *json = json_dumps(answer, 0);
        bool ok = json ? details_print(json, true, err) : error_no_memory(err);
        free(json);
        return ok;
    }
    json_array_foreach(json_object_get(answer, "rows"), i, row)
        print_row(row);
    print_end(json_object_get(answer, "run"));
    return true;
}

static bool judge_end(const json_t *run, struct error *err)
{
    int64_t run_id = json_integer_value(json_object_get(run, "id"));

    if (!run_has_ended(run))
        return error_set(err, ERROR_RETRY,
                         "run %" PRId64 " has not ended yet: %s %s; runs watch %" PRId64
                         " follows it",
                         run_id, text_of(run, "reason"), text_of(run, "detail"), run_id);
    if (!run_has_succeeded(run))
        return error_set(err, ERROR_INPUT, "run %" PRId64 " %s: %s: %s", run_id,
                         text_of(run, "state"), text_of(run, "reason"), text_of(run, "detail"));
    if (json_integer_value(json_object_get(json_object_get(run, "counts"), "accepted")) == 0)
        return error_set(err, ERROR_INPUT, "run %" PRId64 ": Klaviyo accepted none of the rows",
                         run_id);
    return true;
}

bool export_try(struct context *context, struct error *err)
{
    CLEANUP(json_freep) json_t *wish = read_wish(context, err);
    CLEANUP(json_freep) json_t *answer = NULL;
    const struct task_question question = { .kind = "export try",
                                            .name = context->arguments->operands[0],
                                            .arguments = wish,
                                            .direct =
                                                arguments_flag(context->arguments, "--direct") };

    return wish && task_ask(context, &question, &answer, err) &&
           print_answer(answer, arguments_flag(context->arguments, "--json"), err) &&
           judge_end(json_object_get(answer, "run"), err);
}
