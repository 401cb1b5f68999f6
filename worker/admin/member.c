#include "worker/admin/member.h"

#include <stdlib.h>

#include "worker/cli/arguments.h"
#include "worker/cli/confirm.h"
#include "worker/cli/json.h"
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

static bool print_forgotten(const char *json, struct error *err)
{
    static const struct column columns[] = { { "EXPORT", "export", false, true },
                                             { "LEDGER", "ledger", false, false },
                                             { "OUTBOX", "outbox", false, false },
                                             { "REJECTIONS", "rejections", true, false },
                                             { "UNFINISHED JOBS", "late_jobs", true, false },
                                             { NULL, NULL, false, false } };
    CLEANUP(json_freep) json_t *found = json_loads(json, 0, NULL);

    if (!found)
        return error_no_memory(err);
    if (!print_exports(columns, found, "Nothing was remembered about this address.", err))
        return false;
    print_line("Forgotten where it was. Klaviyo and the source were not touched: while the person "
               "is in a segment of an export, the next run sends them again.");
    return true;
}

static bool forget(struct context *context, const struct arguments *arguments, struct error *err)
{
    char *json;

    if (!confirm(arguments, "Forget what is remembered about this person, for good?", err) ||
        !persons_forget(context->db, arguments->operands[0], &json, err))
        return false;
    bool ok = arguments_flag(arguments, "--json") ? details_print(json, true, err)
                                                  : print_forgotten(json, err);
    free(json);
    return ok;
}

static const struct option_spec forget_options[] = { OPTION_YES, OPTION_JSON, OPTIONS_END };

/* clang-format off */
const struct command member_commands[] = {
    { .words = "member forget", .who = ADMINS, ONE_OPERAND("ADDRESS"),
      .options = forget_options, .needs = NEEDS_DATABASE, .run = forget,
      .summary = "delete what is remembered about a person, by the e-mail address",
      .details = "Ledger, rejections, and what waits to be sent. The address may be spelled in any\n"
                 "way that counts as the same (blanks around it, capitals). Delete the profile at its\n"
                 "source first: while the person is in a segment of an export, the next run sends\n"
                 "them again. A run that is going on and may know the person begins anew. Nothing\n"
                 "is changed in Klaviyo. The audit says who did it and where the address was, not\n"
                 "the address." },
    { .words = NULL },
};
/* clang-format on */
