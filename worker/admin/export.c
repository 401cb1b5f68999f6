#include "worker/admin/export.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/admin/mapping_option.h"
#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/confirm.h"
#include "worker/cli/listing.h"
#include "worker/cli/print.h"
#include "worker/store/export_view.h"
#include "worker/store/exports.h"

static bool list(struct context *context, struct error *err)
{
    static const struct column columns[] = {
        { "NAME", "name", COLUMN_TEXT, COLUMN_IS_CUT },
        { "CONNECTION", "connection", COLUMN_TEXT, COLUMN_IS_CUT },
        { "LIST", "list", COLUMN_TEXT, COLUMN_GOES },
        { "LIST NAME", "list_name", COLUMN_TEXT, COLUMN_GOES + 2 },
        { "SEGMENTS", "segments", COLUMN_TEXT, COLUMN_GOES + 1 },
        { "LAST SUCCESS", "last_success", COLUMN_TIME, COLUMN_STAYS },
        { "MEMBERS", "members", COLUMN_NUMBER, COLUMN_STAYS },
        { "KEY", "connection_state", COLUMN_STATE, COLUMN_STAYS },
        { "STATE", "state", COLUMN_STATE, COLUMN_STAYS },
        COLUMNS_END
    };
    char *json;

    if (!export_view_list(context->db, &json, err))
        return false;
    bool ok = listing_print(context, columns, json,
                            "There is no export yet that you may see: export add makes one.", err);
    free(json);
    return ok;
}

static bool show(struct context *context, struct error *err)
{
    char *json;

    if (!export_view_show(context->db, context->arguments->operands[0], &json, err))
        return false;
    bool ok = details_print(json, arguments_flag(context->arguments, "--json"), err);
    free(json);
    return ok;
}

static bool pause_export(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0];
    int64_t runs_ended;

    if (!exports_pause(context->db, name, &runs_ended, err))
        return false;
    print_line("Paused export %s:%s its events are ignored until export resume.", name,
               runs_ended > 0 ? " its runs were ended," : "");
    return true;
}

static bool resume(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0];

    if (!exports_resume(context->db, name, err))
        return false;
    print_line("Resumed export %s. It runs at the next refresh, or with klaviyo-worker publish "
               "--export %s.",
               name, name);
    return true;
}

static bool remove_export(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0];
    char question[512];
    int64_t runs_ended;

    (void)snprintf(question, sizeof question,
                   "Remove export %s and what is remembered about its members?", name);
    if (!confirm(context->arguments, question, err) ||
        !exports_remove(context->db, name, &runs_ended, err))
        return false;
    print_line("Removed export %s and what was remembered about its members. Its list in Klaviyo "
               "was not touched.",
               name);
    return true;
}

#define OPTIONS_OF_EXPORT(needed)                                                                  \
    { "--connection", OPTION_VALUE, needed, "NAME", "connection to send through" },                \
        { "--list", OPTION_VALUE, needed, "LIST_ID", "list in Klaviyo, by its id" },               \
        { "--segment", OPTION_LIST, needed, "SEGMENT", "segment whose members are sent" },         \
        { "--email-field", OPTION_VALUE, needed, "FIELD",                                          \
          "attribute with the e-mail address; dots lead into nested ones" },                       \
        { "--attribute", OPTION_LIST, false, "KLAVIYO_FIELD=FIELD", "fill a field of Klaviyo's" }, \
        { "--property", OPTION_LIST, false, "NAME=FIELD",                                          \
          "fill a custom property; its JSON type is kept" },                                       \
        { "--allow-phone-number", OPTION_FLAG, false, NULL, "allow --attribute phone_number" },    \
        { "--max-profiles", OPTION_VALUE, false, "N",                                              \
          "fail before the first request if there are more addresses (100000)" },                  \
        { "--max-invalid", OPTION_VALUE, false, "PERCENT",                                         \
          "stop a run before its first import if a larger share of members cannot be sent (20)" }, \
        { "--size-guard", OPTION_VALUE, false, "on|off",                                           \
          "stop a run with over twice or under half of the last one's addresses (on)" },           \
        { "--plan", OPTION_VALUE, false, "stop|warn|ignore",                                       \
          "what to do if new addresses may exceed Klaviyo's plan (warn)" },                        \
        { "--expect-every", OPTION_VALUE, false, "DURATION",                                       \
          "report it as stale without a success for this long: 26h, 90m, 1d; or none" },           \
        { "--force", OPTION_FLAG, false, NULL,                                                     \
          "store the export even if hardly any member has one of its fields" },                    \
    {                                                                                              \
        "--on-leave", OPTION_VALUE, false, "keep|remove",                                          \
            "members who leave stay on the list (keep), or are taken off it (remove)"              \
    }

static const struct option_spec add_options[] = { OPTIONS_OF_EXPORT(true), OPTIONS_END };
static const struct option_spec update_options[] = {
    OPTIONS_OF_EXPORT(false),
    { "--no-fields", OPTION_FLAG, false, NULL, "send only the address from now on" },
    { "--flows-known", OPTION_FLAG, false, NULL,
      "flows that begin with being added to this list are wanted, even for over 1,000 people at once" },
    OPTIONS_END,
};
static const struct option_spec list_options[] = { OPTIONS_OF_LISTING, OPTIONS_END };
static const struct option_spec json_options[] = { OPTION_JSON, OPTIONS_END };
static const struct option_spec yes_options[] = { OPTION_YES, OPTIONS_END };
static const struct option_spec try_options[] = {
    { "--rows", OPTION_VALUE, false, "N", "the first N rows that may be sent, 1 to 100" },
    { "--profile", OPTION_VALUE, false, "ID", "this profile alone" },
    OPTION_DIRECT,
    OPTION_JSON,
    OPTIONS_END,
};
static const struct option_spec preview_options[] = {
    { "--show", OPTION_FLAG, false, NULL, "show the values of the examples, too" },
    OPTION_DIRECT,
    OPTION_JSON,
    OPTIONS_END,
};
static const struct option_spec verify_options[] = {
    { "--show", OPTION_FLAG, false, NULL, "name the addresses, 1,000 of each kind at most" },
    OPTION_DIRECT,
    OPTION_JSON,
    OPTIONS_END,
};

/* clang-format off */
const struct command export_commands[] = {
    { .words = "export add", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = add_options, .needs = NEEDS_DATABASE, .run = export_add,
      .print_details = mapping_options_print_help,
      .summary = "define which segments go to which list, and with which fields",
      .details = "Stores the export and starts no run. All members of the segments are sent, one\n"
                 "profile per address." },
    { .words = "export list", .who = EXPORTERS, .operands = "",
      .options = list_options, .needs = NEEDS_DATABASE,
      .summary = "list the exports that you may use", .run = list },
    { .words = "export show", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = json_options, .needs = NEEDS_DATABASE,
      .summary = "show an export: list, segments, fields, state", .run = show },
    { .words = "export update", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = update_options, .needs = NEEDS_DATABASE, .run = export_update,
      .print_details = mapping_options_print_help,
      .summary = "change an export; what is not given stays as it is",
      .details = "Options that may be given more than once replace all of their kind: --segment the\n"
                 "segments, --attribute and --property together the fields. A run in progress ends;\n"
                 "the next one answers its events. After a change of --list or --connection all\n"
                 "members are sent again." },
    { .words = "export preview", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = preview_options, .needs = NEEDS_DATABASE, .run = export_preview,
      .summary = "show what a run would do now: counts, requests, time; imports nothing",
      .details = "Reads, checks and compares the members as a run would: counts, why members are not\n"
                 "sent, how many have each field, who is new, changed or gone, what would stop the run,\n"
                 "and three examples of what is sent, without their values. Where the API key may read\n"
                 "it (scopes usage:read, flows:read), Klaviyo is asked how many profiles the plan\n"
                 "allows, and whether live flows begin for new addresses.\n"
                 TASK_DETAILS },
    { .words = "export try", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = try_options, .needs = NEEDS_DATABASE, .run = export_try,
      .summary = "send a few rows for real and show what Klaviyo says of each",
      .details = "A run of its own (trigger trial), by the code of all runs: the rows are put on the\n"
                 "list, and the next run knows them. Guards and --max-profiles do not apply.\n"
                 TASK_DETAILS },
    { .words = "export verify", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = verify_options, .needs = NEEDS_DATABASE, .run = export_verify,
      .summary = "compare the list in Klaviyo with the segments and with what was sent",
      .details = "Counts addresses that are on the list and were put there by this export, that are\n"
                 "missing, that were not put there by it, and members that were not sent yet. Changes\n"
                 "nothing. The whole list is read, 100 profiles per request: 1,000,000 take a quarter\n"
                 "of an hour or more. Best while no run is in progress; Klaviyo may show the last\n"
                 "changes late.\n"
                 TASK_DETAILS },
    { .words = "export pause", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .needs = NEEDS_DATABASE, .run = pause_export,
      .summary = "pause an export: end its runs and ignore its events" },
    { .words = "export resume", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .needs = NEEDS_DATABASE, .run = resume, .summary = "resume a paused export" },
    { .words = "export remove", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = yes_options, .needs = NEEDS_DATABASE, .run = remove_export,
      .summary = "remove an export and end its runs; nothing changes in Klaviyo" },
    { .words = NULL },
};
/* clang-format on */
