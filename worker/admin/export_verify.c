/* `export verify`: a worker compares the list in Klaviyo with ours; its answer in words. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/json.h"
#include "worker/admin/export.h"
#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"

static int64_t count_of(const json_t *answer, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(answer, "counts"), name));
}

/* -- the counts -- */

static void add_row(json_t *rows, int64_t profiles, const char *what, json_t *of_these)
{
    (void)json_array_append_new(rows, json_pack("{s:I, s:s, s:o}", "profiles", (json_int_t)profiles,
                                                "what", what, "of_these",
                                                of_these ? of_these : json_string("")));
}

static json_t *left_of(const json_t *answer, const char *name)
{
    return json_sprintf("%" PRId64 " are members no longer", count_of(answer, name));
}

static json_t *rows_of(const json_t *answer)
{
    json_t *rows = json_array();

    add_row(rows, count_of(answer, "ours"), "on the list, put there by this export",
            left_of(answer, "ours_left"));
    add_row(rows, count_of(answer, "missing"), "missing: put there by this export, not there now",
            left_of(answer, "missing_left"));
    add_row(rows, count_of(answer, "not_ours"), "on the list, not put there by this export",
            json_sprintf("%" PRId64 " are members, %" PRId64 " have no address",
                         count_of(answer, "not_ours_members"),
                         count_of(answer, "without_address")));
    add_row(rows, count_of(answer, "not_sent"), "members, not sent yet", NULL);
    return rows;
}

static bool print_array(const struct column *columns, const json_t *rows, const char *nothing,
                        struct error *err)
{
    char *text = rows ? json_dumps(rows, 0) : NULL;
    bool ok = text ? table_print(columns, text, false, nothing, err) : error_no_memory(err);

    free(text);
    return ok;
}

static bool print_counts(const json_t *answer, struct error *err)
{
    static const struct column columns[] = { { "PROFILES", "profiles", true, false },
                                             { "WHAT", "what", false, false },
                                             { "OF THESE", "of_these", false, true },
                                             { NULL, NULL, false, false } };
    CLEANUP(json_freep) json_t *rows = rows_of(answer);

    return print_array(columns, rows, "", err);
}

/* -- the addresses -- */

static void add_addresses(json_t *rows, const char *what, const json_t *addresses)
{
    size_t i;
    json_t *address;

    json_array_foreach(addresses, i, address)
        (void)json_array_append_new(rows,
                                    json_pack("{s:s, s:O}", "what", what, "address", address));
}

static bool print_addresses(const json_t *shown, struct error *err)
{
    static const struct column columns[] = { { "ADDRESS", "address", false, true },
                                             { "WHAT", "what", false, false },
                                             { NULL, NULL, false, false } };
    CLEANUP(json_freep) json_t *rows = json_array();

    if (!json_is_object(shown))
        return true;
    const json_t *not_ours = json_object_get(shown, "not_ours"); /* null: not for this caller */

    add_addresses(rows, "missing", json_object_get(shown, "missing"));
    add_addresses(rows, "not put there by this export", not_ours);
    add_addresses(rows, "not sent yet", json_object_get(shown, "not_sent"));
    return print_array(columns, rows,
                       json_is_null(not_ours) ? "No address is missing or not sent yet."
                                              : "No address is missing, foreign or not sent yet.",
                       err);
}

/* -- the command -- */

static void explain(const json_t *answer, const char *name)
{
    const json_t *shown = json_object_get(answer, "shown");

    if (count_of(answer, "missing") > 0)
        print_line(
            "People who were taken off the list in Klaviyo stay off it; klaviyo-worker publish "
            "--export %s --full puts all members there again.",
            name);
    if (json_is_true(json_object_get(answer, "ran_meanwhile")))
        warn_user(
            "a run of %s was in progress meanwhile: what it changed may be counted as a difference",
            name);
    if (json_is_object(shown) && json_is_null(json_object_get(shown, "not_ours")))
        warn_user("addresses that this export did not put on the list are shown to administrators "
                  "only");
}

static bool print_answer(const json_t *answer, const char *name, struct error *err)
{
    if (!print_counts(answer, err) || !print_addresses(json_object_get(answer, "shown"), err))
        return false;
    explain(answer, name);
    return true;
}

bool export_verify(struct context *context, struct error *err)
{
    CLEANUP(json_freep)
    json_t *asked = json_pack("{s:b}", "show", arguments_flag(context->arguments, "--show"));
    const struct task_question question = { .kind = "export verify",
                                            .name = context->arguments->operands[0],
                                            .arguments = asked,
                                            .direct =
                                                arguments_flag(context->arguments, "--direct") };
    CLEANUP(json_freep) json_t *answer = NULL;

    if (!asked)
        return error_no_memory(err);
    if (!task_ask(context, &question, &answer, err))
        return false;
    if (!arguments_flag(context->arguments, "--json"))
        return print_answer(answer, question.name, err);
    return print_json(answer, err);
}
