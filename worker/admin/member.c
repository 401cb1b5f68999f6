#include "worker/admin/member.h"

#include <stdlib.h>

#include "common/json.h"
#include "worker/cli/arguments.h"
#include "worker/cli/confirm.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"
#include "worker/store/persons.h"

/* The array `exports` of a document as a table. */
static bool print_exports(const struct column *columns, const json_t *document, const char *nothing,
                          struct error *err)
{
    char *rows = json_dumps(json_object_get(document, "exports"), 0);
    bool ok = rows ? table_print(columns, rows, false, nothing, err) : error_no_memory(err);

    free(rows);
    return ok;
}

/* The last refusal of a row: "invalid: …". */
static void add_refusal(json_t *row)
{
    json_t *last = json_array_get(json_object_get(row, "rejections"), 0);
    const char *detail = json_string_value(json_object_get(last, "detail"));
    json_t *code = json_object_get(last, "code");

    if (detail)
        (void)json_object_set_new(row, "refusal",
                                  json_sprintf("%s: %s", json_string_value(code), detail));
    else if (code)
        (void)json_object_set(row, "refusal", code);
}

static void warn_of_source(const json_t *row)
{
    const char *problem = json_string_value(json_object_get(row, "source_error"));

    if (problem)
        warn_user("export %s: its members cannot be read, so its segments are not known: %s",
                  json_string_value(json_object_get(row, "export")), problem);
}

static bool print_shown(const char *json, struct error *err)
{
    static const struct column columns[] = { { "EXPORT", "export", false, true },
                                             { "LIST", "list", false, false },
                                             { "STATE", "state", false, false },
                                             { "SINCE", "since", COLUMN_TIME, COLUMN_GOES },
                                             { "RUN", "run", true, false },
                                             { "SEGMENTS", "segments", false, true },
                                             { "PROFILES", "profiles", false, true },
                                             { "REFUSED", "refusal", false, true },
                                             { NULL, NULL, false, false } };
    CLEANUP(json_freep) json_t *found = json_loads(json, 0, NULL);
    size_t i;
    json_t *row;

    if (!found)
        return error_no_memory(err);
    json_array_foreach(json_object_get(found, "exports"), i, row) {
        add_refusal(row);
        warn_of_source(row);
    }
    return print_exports(columns, found, "No export that you may use has to do with this address.",
                         err);
}

static bool show(struct context *context, struct error *err)
{
    char *json;

    if (!persons_show(context->db, context->arguments->operands[0], &json, err))
        return false;
    bool ok = arguments_flag(context->arguments, "--json") ? details_print(json, true, err)
                                                           : print_shown(json, err);
    free(json);
    return ok;
}

/* Exports of which a member has the address now: a run would send it again. */
static json_t *still_members(const char *shown)
{
    CLEANUP(json_freep) json_t *found = json_loads(shown, 0, NULL);
    json_t *still = json_array();
    size_t i;
    json_t *row;

    json_array_foreach(json_object_get(found, "exports"), i, row)
        if (json_array_size(json_object_get(row, "segments")) > 0)
            (void)json_array_append_new(still, json_pack("{s:O, s:O}", "export",
                                                         json_object_get(row, "export"), "segments",
                                                         json_object_get(row, "segments")));
    return still;
}

/* The person is forgotten; where they would come back from is reported if it can be found out. */
static void add_still_members(struct context *context, json_t *found)
{
    const char *address = json_string_value(json_object_get(found, "address"));
    struct error err = ERROR_INIT;
    char *shown;

    if (!persons_show(context->db, address, &shown, &err)) {
        warn_user("whether the person is still a member of a segment is not known: %s", err.text);
        return;
    }
    (void)json_object_set_new(found, "still_members", still_members(shown));
    free(shown);
}

static void warn_of_members(const json_t *still)
{
    size_t i;
    json_t *row;

    json_array_foreach(still, i, row) {
        char *segments = json_dumps(json_object_get(row, "segments"), 0);
        warn_user("a member of export %s has the address (segments %s): the next run sends it "
                  "again, unless the profile is deleted at its source",
                  json_string_value(json_object_get(row, "export")), segments ? segments : "");
        free(segments);
    }
}

static void print_retaken(const json_t *found)
{
    json_int_t n = json_integer_value(json_object_get(found, "runs_taken_anew"));

    if (n > 0)
        print_line("%" JSON_INTEGER_FORMAT " run%s members again.", n,
                   n == 1 ? " in progress reads its" : "s in progress read their");
}

static bool print_forgotten(const json_t *found, struct error *err)
{
    static const struct column columns[] = { { "EXPORT", "export", false, true },
                                             { "LEDGER", "ledger", false, false },
                                             { "OUTBOX", "outbox", false, false },
                                             { "REJECTIONS", "rejections", true, false },
                                             { "UNFINISHED JOBS", "late_jobs", true, false },
                                             { NULL, NULL, false, false } };

    if (!print_exports(columns, found, "Nothing was remembered about this address.", err))
        return false;
    if (json_array_size(json_object_get(found, "exports")) > 0)
        print_line(
            "Forgotten where it was. Klaviyo was not touched: delete the profile there, too.");
    print_retaken(found);
    warn_of_members(json_object_get(found, "still_members"));
    return true;
}

static bool forget(struct context *context, struct error *err)
{
    char *json;

    if (!confirm(context->arguments, "Forget what is remembered about this person, for good?",
                 err) ||
        !persons_forget(context->db, context->arguments->operands[0], &json, err))
        return false;
    CLEANUP(json_freep) json_t *found = json_loads(json, 0, NULL);
    free(json);
    if (!found)
        return error_no_memory(err);
    add_still_members(context, found);
    if (!arguments_flag(context->arguments, "--json"))
        return print_forgotten(found, err);
    return print_json(found, err);
}

static const struct option_spec json_options[] = { OPTION_JSON, OPTIONS_END };
static const struct option_spec forget_options[] = { OPTION_YES, OPTION_JSON, OPTIONS_END };

/* clang-format off */
const struct command member_commands[] = {
    { .words = "member show", .who = EXPORTERS, ONE_OPERAND("ADDRESS"),
      .options = json_options, .needs = NEEDS_DATABASE, .run = show,
      .summary = "show where an e-mail address is: exports, segments, what became of it",
      .details = "The address may be spelled in any way that counts as the same (blanks around it,\n"
                 "capitals). Searched are the exports that you may use, and the members of their\n"
                 "segments. States: not_sent (a member that no run has read yet), pending (goes with\n"
                 "the next run), delivered, rejected, leaving (to be taken off the list)." },
    { .words = "member forget", .who = ADMINS, ONE_OPERAND("ADDRESS"),
      .options = forget_options, .needs = NEEDS_DATABASE, .run = forget,
      .summary = "delete what is remembered about a person with an e-mail address",
      .details = "Ledger, rejections, and what waits to be sent. The address may be spelled in any\n"
                 "way that counts as the same (blanks around it, capitals). Delete the profile at its\n"
                 "source first: while the person is in a segment of an export, the next run sends\n"
                 "them again. A run in progress that may know the person starts over. Nothing is\n"
                 "changed in Klaviyo. The audit says who did it and where the address was, not the\n"
                 "address." },
    { .words = NULL },
};
/* clang-format on */
