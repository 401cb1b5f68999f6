#include "worker/admin/connection.h"

#include <stdio.h>
#include <stdlib.h>

#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/confirm.h"
#include "worker/cli/listing.h"
#include "worker/cli/percent.h"
#include "worker/cli/print.h"
#include "worker/store/connection_view.h"
#include "worker/store/connections.h"

static const struct column whole_columns[] = {
    { "NAME", "name", false, true },
    { "KIND", "kind", COLUMN_TEXT, COLUMN_GOES + 3 },
    { "STATE", "state", COLUMN_STATE, COLUMN_STAYS },
    { "ACCOUNT", "account_id", COLUMN_TEXT, COLUMN_GOES + 1 },
    { "ACCOUNT NAME", "account_name", false, true },
    { "SHARE %", "share", COLUMN_NUMBER, COLUMN_GOES + 2 },
    { "EXPORTS", "exports", true, false },
    { "GRANTED TO", "granted_to", COLUMN_TEXT, COLUMN_IS_CUT },
    { NULL, NULL, false, false }
};

static const struct column granted_columns[] = { { "NAME", "name", false, true },
                                                 { "KIND", "kind", COLUMN_TEXT, COLUMN_GOES + 3 },
                                                 { "STATE", "state", COLUMN_STATE, COLUMN_STAYS },
                                                 { "EXPORTS", "exports", true, false },
                                                 { NULL, NULL, false, false } };

static bool list(struct context *context, struct error *err)
{
    bool whole;
    char *json;

    if (!connection_view_is_whole(context->db, &whole, err) ||
        !connection_view_list(context->db, whole, &json, err))
        return false;
    bool ok = listing_print(context, whole ? whole_columns : granted_columns, json,
                            "There is no connection yet that you may use: an administrator makes "
                            "one with connection add.",
                            err);
    free(json);
    return ok;
}

static bool show(struct context *context, struct error *err)
{
    bool whole;
    char *json;

    if (!connection_view_is_whole(context->db, &whole, err) ||
        !connection_view_show(context->db, whole, context->arguments->operands[0], &json, err))
        return false;
    bool ok = details_print(json, arguments_flag(context->arguments, "--json"), err);
    free(json);
    return ok;
}

static bool grant(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0], *role = context->arguments->operands[1];

    if (!connections_grant(context->db, name, role, err))
        return false;
    print_line("Members of %s may use connection %s.", role, name);
    return true;
}

static bool revoke(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0], *role = context->arguments->operands[1];
    char *paused;

    if (!connections_revoke(context->db, name, role, &paused, err))
        return false;
    print_line("Members of %s may no longer use connection %s.", role, name);
    if (paused)
        print_line("Paused because of it: %s", paused);
    free(paused);
    return true;
}

static bool update(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0],
               *value = arguments_value(context->arguments, "--share");
    int64_t share;
    bool changed;

    if (!value)
        return wrong_usage(context, err,
                           "connection update needs an option: nothing is to be changed");
    if (!percent_parse(value, 1, &share))
        return wrong_usage(context, err,
                           "--share is a part of the account's limits, 1 to 100 percent without a "
                           "fraction, not %s",
                           value);
    if (!connections_change_share(context->db, name, share, &changed, err))
        return false;
    if (changed)
        print_line("Connection %s uses at most %d %% of its account's limits.", name, (int)share);
    else
        print_line("Connection %s unchanged.", name);
    return true;
}

static bool remove_connection(struct context *context, struct error *err)
{
    const char *name = context->arguments->operands[0];
    char question[512];

    (void)snprintf(question, sizeof question, "Forget connection %s and its key?", name);
    if (!confirm(context->arguments, question, err) || !connections_remove(context->db, name, err))
        return false;
    print_line("Removed connection %s and its key. Klaviyo does not know: delete the key there if "
               "nobody else needs it.",
               name);
    return true;
}

#define OPTION_KEY_FILE                                                                 \
    {                                                                                   \
        "--api-key-file", OPTION_VALUE, true, "FILE|-",                                 \
            "file with the private API key of Klaviyo (pk_…); - reads standard input" \
    }
#define OPTION_NO_VERIFY                                                             \
    {                                                                                \
        "--no-verify", OPTION_FLAG, false, NULL, "store the key without checking it" \
    }

static const struct option_spec add_options[] = {
    OPTION_KEY_FILE,
    { "--agree-to-data-transfer", OPTION_FLAG, true, NULL,
      "you agree to the text above; who agreed and when is recorded" },
    OPTION_NO_VERIFY,
    OPTIONS_END,
};
static const struct option_spec rotate_options[] = { OPTION_KEY_FILE, OPTION_NO_VERIFY,
                                                     OPTIONS_END };
static const struct option_spec lists_options[] = {
    { "--sizes", OPTION_FLAG, false, NULL, "wait for the size of every list" },
    OPTION_DIRECT,
    OPTION_JSON,
    OPTIONS_END,
};
static const struct option_spec yes_options[] = { OPTION_YES, OPTIONS_END };
static const struct option_spec verify_options[] = { OPTION_DIRECT, OPTIONS_END };
static const struct option_spec update_options[] = {
    { "--share", OPTION_VALUE, false, "PERCENT",
      "use at most this part of the limits that Klaviyo sets the account (100)" },
    OPTIONS_END,
};
static const struct option_spec list_options[] = { OPTIONS_OF_LISTING, OPTIONS_END };
static const struct option_spec json_options[] = { OPTION_JSON, OPTIONS_END };

/* clang-format off */
const struct command connection_commands[] = {
    { .words = "connection add", .who = ADMINS, ONE_OPERAND("NAME"),
      .options = add_options, .needs = NEEDS_DATABASE, .run = connection_add,
      .summary = "store a Klaviyo account's API key, sealed",
      .details = "The key is read, never shown; Klaviyo is asked, read only, for its account.\n\n"
                 "With --agree-to-data-transfer you agree, for the holder of the data (text 1):\n"
                 "  Exports that use this connection send e-mail addresses, and the profile fields\n"
                 "  that each export maps, to Klaviyo, Inc. I am entitled to have that data sent\n"
                 "  there, and the people it is about have been told as the law requires." },
    { .words = "connection list", .who = EXPORTERS, .operands = "",
      .options = list_options, .needs = NEEDS_DATABASE,
      .summary = "list the connections that you may use", .run = list },
    { .words = "connection show", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = json_options, .needs = NEEDS_DATABASE,
      .summary = "show a connection: account, consent, state, who may use it", .run = show },
    { .words = "connection verify", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = verify_options, .needs = NEEDS_DATABASE, .run = connection_verify,
      .summary = "check the stored key and the lists of the exports with Klaviyo",
      .details = "Reads the account and the list of each export; changes nothing in Klaviyo. Ends\n"
                 "`needs attention` of a key that Klaviyo had refused and now takes.\n" TASK_DETAILS },
    { .words = "connection lists", .who = EXPORTERS, ONE_OPERAND("NAME"),
      .options = lists_options, .needs = NEEDS_DATABASE, .run = connection_lists,
      .summary = "list the Klaviyo lists of a connection's account: ids, names, sizes",
      .details = "The most recently changed come first. Klaviyo gives the sizes of 15 lists per minute:\n"
                 "without --sizes only the first 7 have one.\n" TASK_DETAILS },
    { .words = "connection grant", .who = ADMINS,
      .operands = "NAME ROLE", .min_operands = 2, .max_operands = 2,
      .needs = NEEDS_DATABASE, .run = grant,
      .summary = "let members of a database role use a connection" },
    { .words = "connection revoke", .who = ADMINS,
      .operands = "NAME ROLE", .min_operands = 2, .max_operands = 2,
      .needs = NEEDS_DATABASE, .run = revoke,
      .summary = "revoke a role's right to use a connection; dependent exports pause" },
    { .words = "connection rotate-key", .who = ADMINS, ONE_OPERAND("NAME"),
      .options = rotate_options, .needs = NEEDS_DATABASE, .run = connection_rotate_key,
      .summary = "store a new API key of a connection; ends `needs attention`" },
    { .words = "connection update", .who = ADMINS, ONE_OPERAND("NAME"),
      .options = update_options, .needs = NEEDS_DATABASE, .run = update,
      .summary = "change a connection; what is not given stays as it is",
      .details = "Klaviyo's limits apply to all private keys of an account together: a smaller share\n"
                 "leaves room for other tools. It applies to all workers together; of several\n"
                 "connections to one account the smallest share applies." },
    { .words = "connection remove", .who = ADMINS, ONE_OPERAND("NAME"),
      .options = yes_options, .needs = NEEDS_DATABASE, .run = remove_connection,
      .summary = "remove a connection and its key; refused while exports use it" },
    { .words = NULL },
};
/* clang-format on */
