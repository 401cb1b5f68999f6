/* `connection lists`: a worker asks Klaviyo for the lists of the account. */
#include <stdlib.h>

#include "common/json.h"
#include "worker/admin/connection.h"
#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/table.h"

static bool print_lists(const json_t *lists, bool as_json, struct error *err)
{
    static const struct column columns[] = { { "LIST", "id", false, false },
                                             { "NAME", "name", false, true },
                                             { "PROFILES", "profiles", true, false },
                                             { NULL, NULL, false, false } };
    char *json = json_dumps(lists, 0);
    bool ok = json ? table_print(columns, json, as_json, "The account has no list.", err)
                   : error_no_memory(err);

    free(json);
    return ok;
}

bool connection_lists(struct context *context, struct error *err)
{
    CLEANUP(json_freep)
    json_t *wish = json_pack("{s:b}", "sizes", arguments_flag(context->arguments, "--sizes"));
    const struct task_question question = { .kind = "connection lists",
                                            .name = context->arguments->operands[0],
                                            .arguments = wish,
                                            .direct =
                                                arguments_flag(context->arguments, "--direct") };
    CLEANUP(json_freep) json_t *answer = NULL;

    if (!task_ask(context, &question, &answer, err) ||
        !print_lists(json_object_get(answer, "lists"), arguments_flag(context->arguments, "--json"),
                     err))
        return false;
    if (json_is_true(json_object_get(answer, "more")))
        warn_user("the account has more lists: those that were changed last are shown");
    return true;
}
