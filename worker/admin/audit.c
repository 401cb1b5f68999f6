#include "worker/admin/audit.h"

#include <stdlib.h>

#include "worker/cli/arguments.h"
#include "worker/cli/listing.h"
#include "worker/store/audit.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 100000 };

static bool read_filter(struct context *context, struct audit_filter *filter, struct error *err)
{
    const char *connection = arguments_value(context->arguments, "--connection");
    const char *export_name = arguments_value(context->arguments, "--export");

    if (connection && export_name)
        return wrong_usage(context, err, "--connection and --export exclude each other");
    filter->object = connection ? "connection" : export_name ? "export" : NULL;
    filter->name = connection ? connection : export_name;
    filter->limit = LIMIT_DEFAULT;
    return arguments_number(context, "--limit", (struct number_range){ 1, LIMIT_MAX },
                            &filter->limit, err);
}

static bool list(struct context *context, struct error *err)
{
    static const struct column columns[] = { { "AT", "at", COLUMN_TIME, COLUMN_STAYS },
                                             { "BY", "by", false, false },
                                             { "ACTION", "action", false, false },
                                             { "OBJECT", "object", false, false },
                                             { "NAME", "name", false, true },
                                             { "DETAIL", "detail", false, true },
                                             { NULL, NULL, false, false } };
    struct audit_filter filter;
    char *json;

    if (!read_filter(context, &filter, err) || !audit_list(context->db, &filter, &json, err))
        return false;
    bool ok = listing_print(context, columns, json, "No audit entries.", err);
    free(json);
    return ok;
}

static const struct option_spec list_options[] = {
    { "--connection", OPTION_VALUE, false, "NAME", "only what was done to this connection" },
    { "--export", OPTION_VALUE, false, "NAME", "only what was done to this export" },
    { "--limit", OPTION_VALUE, false, "N", "how many, newest first (100)" },
    OPTIONS_OF_LISTING,
    OPTIONS_END,
};

const struct command audit_commands[] = {
    { .words = "audit list",
      .who = ADMINS,
      .operands = "",
      .options = list_options,
      .needs = NEEDS_DATABASE,
      .summary = "list who did what to which connection or export, and when",
      .details = "Kept when the object is removed; nobody can change it.",
      .run = list },
    { .words = NULL },
};
