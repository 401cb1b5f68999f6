/* `export preview`: a worker reads what a run would do now; its answer in words. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "worker/admin/export.h"
#include "worker/admin/task_command.h"
#include "worker/cli/arguments.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

/* -- what is worth a warning -- */

/* Profiles that Klaviyo has already take up no more of the plan. */
static void warn_of_usage(const json_t *shown)
{
    int64_t fresh = number_of(shown, "new");
    const json_t *rows = json_object_get(shown, "usage");
    size_t i;
    json_t *row;

    if (json_object_get(shown, "usage_problem"))
        warn_user("what the Klaviyo plan allows is not known: %s", text_of(shown, "usage_problem"));
    json_array_foreach(rows, i, row) {
        int64_t used = number_of(row, "used"), maximum = number_of(row, "maximum");
        if (json_is_integer(json_object_get(row, "maximum")) && fresh > maximum - used)
            warn_user("the Klaviyo plan allows %" PRId64 " profiles (%s) and %" PRId64
                      " are used: %" PRId64 " more may not fit",
                      maximum, text_of(row, "kind"), used, fresh);
    }
}

static int64_t addresses_of(const json_t *shown)
{
    const json_t *counts = json_object_get(shown, "counts");

    return number_of(counts, "read") - number_of(counts, "invalid") -
           number_of(counts, "duplicate");
}

static void warn_of_limit(const json_t *shown)
{
    int64_t addresses = addresses_of(shown), most = number_of(shown, "max_profiles");

    if (addresses > most)
        warn_user("a run would fail: %" PRId64 " addresses, --max-profiles is %" PRId64
                  ": klaviyo-worker export update %s --max-profiles %" PRId64 " lets them through",
                  addresses, most, text_of(shown, "export"), addresses);
}

/* The share at which an alert fires, once runs have counted them. */
static void warn_of_invalid(const json_t *shown)
{
    const json_t *counts = json_object_get(shown, "counts");
    int64_t invalid = number_of(counts, "invalid"), read = number_of(counts, "read");

    if (invalid * 5 > read)
        warn_user("%" PRId64 " of %" PRId64 " members would not be sent: they have no well-formed "
                  "address in the e-mail field, or are too large",
                  invalid, read);
}

/* Fields that nobody has, and values that Klaviyo would refuse, with them the whole row. */
static void warn_of_fields(const json_t *shown)
{
    int64_t addresses = addresses_of(shown);
    size_t i;
    json_t *field;

    json_array_foreach(json_object_get(shown, "fields"), i, field) {
        bool is_property = json_object_get(field, "property") != NULL;
        const char *target = is_property ? "property" : "attribute";
        int64_t no_text = number_of(field, "no_text");

        if (addresses > 0 && number_of(field, "with_value") == 0)
            warn_user("--%s %s: none of %" PRId64 " members has a value for it", target,
                      text_of(field, target), addresses);
        if (no_text > 0)
            warn_user("--attribute %s: %" PRId64 " of %" PRId64 " members have an object or an "
                      "array there, which Klaviyo does not take: they are sent without it",
                      text_of(field, target), no_text, addresses);
    }
}

/* The limit has a warning of its own, with the number to set. */
static void warn_of_guards(const json_t *shown)
{
    const json_t *stopped_by = json_object_get(shown, "stopped_by");

    if (json_is_object(stopped_by) && number_of(shown, "max_profiles") >= addresses_of(shown))
        warn_user("a run would stop before its first request: %s: %s",
                  text_of(stopped_by, "reason"), text_of(stopped_by, "detail"));
}

static void warn_of_everybody(const json_t *shown)
{
    if (json_is_true(json_object_get(shown, "everybody_anew")))
        warn_user("everybody who was sent before would be sent again (%" PRId64
                  " addresses), as after a change of the fields",
                  number_of(shown, "changed"));
}

static void warn(const json_t *shown)
{
    warn_of_limit(shown);
    warn_of_invalid(shown);
    warn_of_fields(shown);
    warn_of_guards(shown);
    warn_of_everybody(shown);
    warn_of_usage(shown);
}

/* -- for people -- */

static bool print_details(const json_t *shown, bool as_json, struct error *err)
{
    char *json = json_dumps(shown, 0);
    bool ok = json ? details_print(json, as_json, err) : error_no_memory(err);

    free(json);
    return ok;
}

/* {"property": "points", …} as rows of a table. */
static json_t *field_rows(const json_t *fields)
{
    json_t *rows = json_array();
    size_t i;
    json_t *field;

    json_array_foreach(fields, i, field) {
        const char *target = json_object_get(field, "property") ? "property" : "attribute";
        char share[32];

        (void)snprintf(share, sizeof share, "%.1f %%",
                       json_real_value(json_object_get(field, "share")));
        (void)json_array_append_new(rows, json_pack("{s:s, s:s, s:I, s:s, s:I}", "target", target,
                                                    "name", text_of(field, target), "with_value",
                                                    (json_int_t)number_of(field, "with_value"),
                                                    "share", share, "no_text",
                                                    (json_int_t)number_of(field, "no_text")));
    }
    return rows;
}

static bool print_fields(const json_t *fields, struct error *err)
{
    static const struct column columns[] = { { "FIELD", "name", false, true },
                                             { "SENT AS", "target", false, false },
                                             { "WITH A VALUE", "with_value", true, false },
                                             { "SHARE", "share", true, false },
                                             { "LEFT OUT", "no_text", true, false },
                                             { NULL, NULL, false, false } };
    CLEANUP(json_freep) json_t *rows = field_rows(fields);
    char *json = json_dumps(rows, 0);
    bool ok = json ? table_print(columns, json, false, "No field but the address is sent.", err)
                   : error_no_memory(err);

    free(json);
    return ok;
}

static bool print_examples(const json_t *examples, struct error *err)
{
    size_t i;
    json_t *example;

    json_array_foreach(examples, i, example) {
        print_line("Example %zu of what is sent:", i + 1);
        if (!print_json(example, err))
            return false;
    }
    return true;
}

static bool print_for_people(json_t *shown, struct error *err)
{
    CLEANUP(json_freep) json_t *fields = json_incref(json_object_get(shown, "fields"));
    CLEANUP(json_freep) json_t *examples = json_incref(json_object_get(shown, "examples"));

    (void)json_object_del(shown, "fields");
    (void)json_object_del(shown, "examples");
    return print_details(shown, false, err) && print_fields(fields, err) &&
           print_examples(examples, err);
}

/* -- the command -- */

bool export_preview(struct context *context, struct error *err)
{
    CLEANUP(json_freep)
    json_t *wish = json_pack("{s:b}", "show", arguments_flag(context->arguments, "--show"));
    const struct task_question question = { .kind = "export preview",
                                            .name = context->arguments->operands[0],
                                            .arguments = wish,
                                            .direct =
                                                arguments_flag(context->arguments, "--direct") };
    CLEANUP(json_freep) json_t *shown = NULL;

    if (!task_ask(context, &question, &shown, err))
        return false;
    warn(shown);
    (void)json_object_del(shown, "usage_problem");
    return arguments_flag(context->arguments, "--json") ? print_details(shown, true, err)
                                                        : print_for_people(shown, err);
}
