/* `export add` and `export update`: what both are given, checked and stored. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/admin/export.h"
#include "worker/admin/field_path.h"
#include "worker/admin/mapping_option.h"
#include "worker/admin/name.h"
#include "worker/admin/source_judgement.h"
#include "worker/cli/arguments.h"
#include "worker/cli/duration.h"
#include "worker/cli/key_word.h"
#include "worker/cli/percent.h"
#include "worker/cli/print.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/store/exports.h"
#include "worker/store/guard.h"

enum { MAX_PROFILES_DEFAULT = 100000, SEGMENT_MAX_BYTES = 800 };

static bool read_on_leave(struct context *context, struct export_draft *draft, struct error *err)
{
    const char *value = arguments_value(context->arguments, "--on-leave");

    draft->on_leave = value;
    if (!value || strcmp(value, "keep") == 0 || strcmp(value, "remove") == 0)
        return true;
    return wrong_usage(context, err, "--on-leave is keep or remove, not %s", value);
}

/* ---- options of the guards ---- */

/* "20" or "20%". */
static bool read_max_invalid(struct context *context, struct export_draft *draft, struct error *err)
{
    const char *value = arguments_value(context->arguments, "--max-invalid");

    draft->max_invalid_given = value != NULL;
    if (!value || percent_parse(value, 0, &draft->max_invalid_percent))
        return true;
    return wrong_usage(context, err,
                       "--max-invalid is a share of the members, 0 to 100 percent without a "
                       "fraction, not %s",
                       value);
}

static bool read_size_guard(struct context *context, struct export_draft *draft, struct error *err)
{
    const char *value = arguments_value(context->arguments, "--size-guard");

    draft->size_guard_given = value != NULL;
    draft->size_guard = value && strcmp(value, "on") == 0;
    if (!value || draft->size_guard || strcmp(value, "off") == 0)
        return true;
    return wrong_usage(context, err, "--size-guard is on or off, not %s", value);
}

static bool read_plan(struct context *context, struct export_draft *draft, struct error *err)
{
    enum guard_plan plan;

    draft->plan = arguments_value(context->arguments, "--plan");
    if (!draft->plan || guard_plan_find(draft->plan, &plan))
        return true;
    return wrong_usage(context, err, "--plan is stop, warn or ignore, not %s", draft->plan);
}

/* ---- options that are lists or paths, and what was read of them ---- */

struct export_options {
    struct mapping_options mapping;
    struct field_path email;
    const char **segments; /* argv's texts */
    size_t n_segments;
};

#define EXPORT_OPTIONS_INIT \
    ((struct export_options){ .mapping = MAPPING_OPTIONS_INIT, .email = FIELD_PATH_INIT })

static bool read_segments(struct context *context, struct export_options *options,
                          struct error *err)
{
    const struct arguments *arguments = context->arguments;
    size_t at = 0;

    options->segments = calloc(arguments->n_given + 1, sizeof *options->segments);
    if (!options->segments)
        return error_no_memory(err);
    for (const char *s = arguments_next(arguments, "--segment", &at); s;
         s = arguments_next(arguments, "--segment", &at)) {
        if (!name_check(context, "segment", s, err))
            return false;
        options->segments[options->n_segments++] = s;
    }
    return true;
}

static bool read_email(struct context *context, struct field_path *email, struct error *err)
{
    const char *text = arguments_value(context->arguments, "--email-field");

    return !text || field_path_parse(context, "--email-field", text, email, err);
}

static bool export_options_read(struct context *context, struct export_options *options,
                                struct error *err)
{
    return read_segments(context, options, err) && read_email(context, &options->email, err) &&
           mapping_options_read(context, &options->mapping, err);
}

static void export_options_release(struct export_options *options)
{
    mapping_options_release(&options->mapping);
    field_path_release(&options->email);
    free(options->segments);
}

/* The draft lives no longer than the options. */
static void lend_options(const struct export_options *options, struct export_draft *draft)
{
    draft->segments = options->segments;
    draft->n_segments = options->n_segments;
    draft->email_path = (struct export_path){ options->email.parts, options->email.n };
    draft->fields = options->mapping.fields;
    draft->n_fields = options->mapping.n;
    draft->replace_fields |= options->mapping.n > 0;
}

/* ---- a draft ---- */

static bool check_draft(struct context *context, const struct export_draft *draft,
                        struct error *err)
{
    struct error why = ERROR_INIT;

    if (!name_check(context, "export", draft->name, err))
        return false;
    if (draft->list_id && key_word_in(draft->list_id))
        return wrong_usage(context, err, "--list: %s looks like an API key", draft->list_id);
    if (draft->list_id && !klaviyo_list_id_check(draft->list_id, &why))
        return wrong_usage(context, err, "--list: %s", why.text);
    return true;
}

/* ---- how often it is expected to succeed, which is no part of what it does ---- */

struct expectation {
    bool given;
    int64_t seconds; /* 0: nothing is expected any more */
};

static bool read_expectation(struct context *context, struct expectation *expectation,
                             struct error *err)
{
    const char *value = arguments_value(context->arguments, "--expect-every");

    expectation->given = value != NULL;
    if (!value || duration_parse(value, &expectation->seconds))
        return true;
    return wrong_usage(context, err,
                       "--expect-every is a number of minutes, hours or days up to 366 days (90m, "
                       "26h, 1d), or none, not %s",
                       value);
}

/* Ends no run. *changed keeps its value where nothing differs. */
static bool store_expectation(struct context *context, const struct expectation *expectation,
                              const char *name, bool *changed, struct error *err)
{
    bool differs;

    if (!expectation->given)
        return true;
    if (!exports_expect(context->db, name, expectation->seconds, &differs, err))
        return false;
    *changed = *changed || differs;
    return true;
}

/* -- the commands -- */

typedef bool change_fn(struct db *db, const struct export_draft *draft, int64_t *runs_ended,
                       struct error *err);

static bool add(struct db *db, const struct export_draft *draft, int64_t *runs_ended,
                struct error *err)
{
    *runs_ended = 0;
    return exports_add(db, draft, err);
}

/* Another list or connection changes no member. */
static bool judge(struct context *context, const struct export_draft *draft, struct error *err)
{
    const struct source_scope scope = {
        .address = draft->n_segments > 0 || draft->email_path.n > 0,
        .fields = draft->n_segments > 0 || draft->n_fields > 0,
        .force = arguments_flag(context->arguments, "--force"),
    };

    if (!scope.address && !scope.fields && draft->max_profiles == 0)
        return true;
    return source_judge(context, draft, &scope, err);
}

static bool read_draft(struct context *context, struct export_draft *draft, struct error *err)
{
    return read_on_leave(context, draft, err) && read_max_invalid(context, draft, err) &&
           read_size_guard(context, draft, err) && read_plan(context, draft, err) &&
           arguments_number(context, "--max-profiles",
                            (struct number_range){ 1, INT64_C(1000000000) }, &draft->max_profiles,
                            err) &&
           check_draft(context, draft, err);
}

static bool change_export(struct context *context, const struct export_draft *asked,
                          change_fn *change, int64_t *runs_ended, struct error *err)
{
    CLEANUP(export_options_release) struct export_options options = EXPORT_OPTIONS_INIT;
    struct export_draft draft = *asked;

    if (!export_options_read(context, &options, err))
        return false;
    lend_options(&options, &draft);
    draft.allow_phone_number = arguments_flag(context->arguments, "--allow-phone-number");
    return read_draft(context, &draft, err) && judge(context, &draft, err) &&
           change(context->db, &draft, runs_ended, err);
}

static struct export_draft draft_of(const struct arguments *arguments)
{
    return (struct export_draft){ .name = arguments->operands[0],
                                  .connection = arguments_value(arguments, "--connection"),
                                  .list_id = arguments_value(arguments, "--list") };
}

bool export_add(struct context *context, struct error *err)
{
    struct export_draft draft = draft_of(context->arguments);
    struct expectation expectation;
    bool changed = true;
    int64_t none;

    draft.is_new = true;
    draft.max_profiles = MAX_PROFILES_DEFAULT;
    if (!read_expectation(context, &expectation, err) ||
        !change_export(context, &draft, add, &none, err) ||
        !store_expectation(context, &expectation, draft.name, &changed, err))
        return false;
    print_line("Added export %s. It runs at the next refresh of its segments, or with "
               "klaviyo-worker publish --export %s.",
               draft.name, draft.name);
    return true;
}

bool export_update(struct context *context, struct error *err)
{
    struct export_draft draft = draft_of(context->arguments);
    struct expectation expectation;
    int64_t runs_ended;

    draft.replace_fields = arguments_flag(context->arguments, "--no-fields");
    draft.flows_known = arguments_flag(context->arguments, "--flows-known");
    if (context->arguments->n_given == 0)
        return wrong_usage(context, err, "export update needs an option: nothing is to be changed");
    if (!read_expectation(context, &expectation, err) ||
        !change_export(context, &draft, exports_update, &runs_ended, err))
        return false;
    bool changed = runs_ended >= 0;
    if (!store_expectation(context, &expectation, draft.name, &changed, err))
        return false;
    if (!changed)
        print_line("Export %s unchanged.", draft.name);
    else
        print_line("Changed export %s.%s", draft.name,
                   runs_ended > 0 ? " A run in progress was ended; its events are "
                                    "answered by the next one."
                                  : "");
    return true;
}
