#include "worker/admin/source_judgement.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/nearest.h"
#include "worker/admin/field_path.h"
#include "worker/cli/print.h"

/* What was seen, and what it is for. */
struct judgement {
    json_t *seen;
    const char *name;
    int64_t looked_at;
    const char *which; /* of the members, for sentences */
    bool hopeless;     /* something is there for under 1 % */
};

static int64_t number_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

/* The name that members have and that is nearest to the path; NULL: none is near. */
static const char *nearest_name(const struct judgement *j, const char *path)
{
    const json_t *names = json_object_get(j->seen, "names");
    struct nearest nearest = NEAREST_INIT(path);

    for (size_t i = 0; i < json_array_size(names); i++)
        nearest_offer(&nearest, json_string_value(json_array_get(names, i)));
    return nearest.best && strcmp(nearest.best, path) != 0 ? nearest.best : NULL;
}

/* What may have been meant; "" where nothing is known. */
static void find_hint(const struct judgement *j, const char *path, int64_t flat, char *hint,
                      size_t size)
{
    const char *near = nearest_name(j, path);

    if (strcmp(path, "profile_id") == 0)
        (void)snprintf(hint, size, ": the id of the profile is " FIELD_PATH_PROFILE_ID);
    else if (flat > 0 && strchr(path, '.'))
        (void)snprintf(hint, size,
                       ": an attribute has the name \"%s\", which must be in double "
                       "quotes",
                       path);
    else if (near)
        (void)snprintf(hint, size, ": did you mean %s?", near);
    else
        hint[0] = '\0';
}

/* Warns of less than half. */
static void judge_share(struct judgement *j, int64_t has, const char *what, const char *hint)
{
    if (has * 2 >= j->looked_at)
        return;
    warn_user("only %" PRId64 " of %" PRId64 " members%s have %s%s", has, j->looked_at, j->which,
              what, hint);
    if (has * 100 < j->looked_at)
        j->hopeless = true;
}

static void judge_address(struct judgement *j)
{
    char what[FIELD_PATH_MAX_BYTES + 100], hint[FIELD_PATH_MAX_BYTES + 100];
    const char *path = text_of(j->seen, "email_field");

    (void)snprintf(what, sizeof what, "a well-formed address in %s (--email-field)", path);
    find_hint(j, path, number_of(j->seen, "email_flat"), hint, sizeof hint);
    judge_share(j, number_of(j->seen, "addresses"), what, hint);
}

static void judge_field(struct judgement *j, const json_t *field)
{
    char what[2 * FIELD_PATH_MAX_BYTES], hint[FIELD_PATH_MAX_BYTES + 100];
    const char *target = text_of(field, "target"), *name = text_of(field, "name");
    const char *path = text_of(field, "path");
    int64_t nested = number_of(field, "nested");

    (void)snprintf(what, sizeof what, "the field %s (--%s %s=%s)", path, target, name, path);
    find_hint(j, path, number_of(field, "flat"), hint, sizeof hint);
    judge_share(j, number_of(field, "present"), what, hint);
    if (nested > 0 && strcmp(target, "attribute") == 0)
        warn_user("--attribute %s: %" PRId64 " of %" PRId64 " members%s have an object or an "
                  "array there, which Klaviyo does not take: they are sent without it",
                  name, nested, j->looked_at, j->which);
}

static void judge_limit(const struct judgement *j)
{
    int64_t members = number_of(j->seen, "members"), most = number_of(j->seen, "max_profiles");

    if (members > most)
        warn_user("the segments of export %s have %" PRId64 " members, and a run with more than "
                  "%" PRId64 " addresses fails: --max-profiles %" PRId64
                  " lets all of them through",
                  j->name, members, most, members);
}

/* Options that are not given have been judged before. */
static void judge_all(struct judgement *j, const struct source_scope *scope)
{
    const json_t *fields = json_object_get(j->seen, "fields");

    if (scope->address)
        judge_address(j);
    for (size_t i = 0; scope->fields && i < json_array_size(fields); i++)
        judge_field(j, json_array_get(fields, i));
}

/* How many have it, of all that is looked at: also where nothing is wrong. */
static void print_shares(const struct judgement *j, const struct source_scope *scope)
{
    const json_t *fields = json_object_get(j->seen, "fields");

    if (scope->address)
        print_line("%" PRId64 " of %" PRId64 " members%s have a well-formed address.",
                   number_of(j->seen, "addresses"), j->looked_at, j->which);
    for (size_t i = 0; scope->fields && i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);

        print_line("%" PRId64 " of %" PRId64 " members%s have %s (--%s %s).",
                   number_of(field, "present"), j->looked_at, j->which, text_of(field, "path"),
                   text_of(field, "target"), text_of(field, "name"));
    }
}

bool source_judge_seen(json_t *seen, const char *name, const struct source_scope *scope,
                       struct error *err)
{
    int64_t members = number_of(seen, "members");
    char which[64] = "";
    struct judgement j = { seen, name, number_of(seen, "looked_at"), which, false };

    if (j.looked_at < members)
        (void)snprintf(which, sizeof which, " looked at (of %" PRId64 ")", members);
    judge_limit(&j);
    if (!scope->address && !scope->fields)
        return true;
    if (*text_of(seen, "unknown_segments"))
        warn_user("insights.segment does not know (yet): %s", text_of(seen, "unknown_segments"));
    if (members == 0) {
        warn_user("the segments of export %s have no members (yet)", name);
        return true;
    }
    judge_all(&j, scope);
    if (j.hopeless && !scope->force)
        return error_set(err, ERROR_INPUT,
                         "export %s was not stored: hardly any member has what is named above; "
                         "correct it, or give --force",
                         name);
    print_shares(&j, scope);
    return true;
}

bool source_judge(struct context *context, const struct export_draft *draft,
                  const struct source_scope *scope, struct error *err)
{
    char *text = NULL;

    if (!exports_look(context->db, draft, &text, err))
        return false;
    if (!text) /* storing says why */
        return true;
    CLEANUP(json_freep) json_t *seen = json_loads(text, 0, NULL);
    free(text);
    if (!seen)
        return error_no_memory(err);
    if (json_object_get(seen, "error")) {
        warn_user("the members could not be looked at: %s", text_of(seen, "error"));
        return true;
    }
    return source_judge_seen(seen, draft->name, scope, err);
}
