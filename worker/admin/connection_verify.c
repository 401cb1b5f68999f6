/* `connection verify`: a worker asks Klaviyo what the stored key allows; its answer in words.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "worker/admin/connection.h"
#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void print_account(const char *name, const json_t *answer)
{
    const json_t *account = json_object_get(answer, "account");
    const char *problem = text_of(answer, "account_problem");

    if (problem)
        warn_user("connection %s: %s", name, problem);
    else if (json_is_object(account))
        print_line("Connection %s: Klaviyo account %s (%s).", name, text_of(account, "id"),
                   text_of(account, "name"));
    else
        print_line("Connection %s: Klaviyo takes its key.", name);
}

/* problem: why flows are not known of all lists; NULL: the key may not read them, or they are. */
static void warn_of_flows(const json_t *list, const char *problem)
{
    const json_t *known = json_object_get(list, "live_flows");
    int64_t live = json_integer_value(known);

    if (!known && problem && text_of(list, "name"))
        warn_user("export %s: whether flows begin with being added to list %s is not known: %s",
                  text_of(list, "export"), text_of(list, "list"), problem);
    if (live > 0)
        warn_user("export %s: %" PRId64 " live flow%s with being added to list %s: a run with over "
                  "1,000 new addresses stops (list_starts_flows) unless export update %s "
                  "--flows-known has said that it is wanted",
                  text_of(list, "export"), live, live == 1 ? " begins" : "s begin",
                  text_of(list, "list"), text_of(list, "export"));
}

/* How many of the lists are gone. */
static int print_lists(const json_t *answer)
{
    const json_t *lists = json_object_get(answer, "lists");
    const char *flows_problem = text_of(answer, "flows_problem");
    int gone = 0;
    size_t i;
    json_t *item;

    json_array_foreach(lists, i, item) {
        const char *list_name = text_of(item, "name");
        if (list_name)
            print_line("  export %s: list %s (%s)", text_of(item, "export"), text_of(item, "list"),
                       list_name);
        else
            print_line("  export %s: Klaviyo has no list %s", text_of(item, "export"),
                       text_of(item, "list"));
        warn_of_flows(item, flows_problem);
        gone += !list_name;
    }
    return gone;
}

/* What a run needs besides is shown by a run alone: nothing is written to try a key. */
static void print_scopes(const char *seen, bool flows_problem)
{
    static const char *const needed[] = { "lists:read", "lists:write", "profiles:read",
                                          "profiles:write" };

    print_line("Scopes tried, and working: %s.", *seen ? seen : "none");
    print_text("Not tried, as only a run uses them:");
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!strstr(seen, needed[i])) {
            print_text(" ");
            print_text(needed[i]);
        }
    print_text(".\n");
    if (!strstr(seen, "usage:read"))
        print_line("Without usage:read, which is optional, export preview does not know what the "
                   "plan allows.");
    if (!strstr(seen, "flows:read") && !flows_problem)
        print_line("Without flows:read, which is optional, nobody knows whether a list starts "
                   "flows.");
}

bool connection_verify(struct context *context, struct error *err)
{
    const struct task_question question = { .kind = "connection verify",
                                            .name = context->arguments->operands[0],
                                            .direct =
                                                arguments_flag(context->arguments, "--direct") };
    CLEANUP(json_freep) json_t *answer = NULL;

    if (!task_ask(context, &question, &answer, err))
        return false;
    print_account(question.name, answer);
    int gone = print_lists(answer);
    const char *scopes = text_of(answer, "scopes");
    print_scopes(scopes ? scopes : "", text_of(answer, "flows_problem") != NULL);
    return gone == 0 ||
           error_set(err, ERROR_INPUT,
                     "Klaviyo does not have %d of the lists: correct them with export update",
                     gone);
}
