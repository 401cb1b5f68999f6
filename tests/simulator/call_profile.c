#include <string.h>

#include "tests/simulator/page.h"
#include "tests/simulator/resource.h"
#include "tests/simulator/selection.h"

static void answer_profile(struct call *call, uint32_t number, int status)
{
    struct strbuf *out = answer_document(call->answer, status);

    strbuf_add_str(out, "{\"data\":");
    resource_profile(call, out, call->account, number, NULL);
    strbuf_add_str(out, ",");
    page_add_self(out, call->request);
    strbuf_add_str(out, "}");
}

void call_profile(struct call *call)
{
    uint32_t number = profiles_by_id(&call->account->profiles, call->id, strlen(call->id));

    if (number == PROFILE_NONE)
        answer_error(call->answer, 404, "not_found", "Not found.", "/data",
                     "A profile with id %s does not exist.", call->id);
    else
        answer_profile(call, number, 200);
}

void call_profiles(struct call *call)
{
    static const char *const allowed[] = { "filter",
                                           "sort",
                                           "page[size]",
                                           "page[cursor]",
                                           "fields[profile]",
                                           "additional-fields[profile]",
                                           NULL };
    CLEANUP(filter_release) struct filter filter = { 0 };
    struct selection selection = { .account = call->account };
    const char *sort = request_arg(call->request, "sort");

    if (!call_allows(call, allowed) || !selection_parse(&selection, call, &filter))
        return;
    if (sort && strcmp(sort, "id") != 0 && strcmp(sort, "created") != 0) {
        answer_bad_parameter(call->answer, "sort", "'%s' is not a valid sort.", sort);
        return;
    }
    selection_pick(&selection);
    selection_answer(&selection, call, false);
}

/* Another profile that has the row's external id while the e-mail is this one's; or PROFILE_NONE.
 */
static uint32_t conflicting(const struct call *call, const struct import_row *row, uint32_t number)
{
    const struct profiles *profiles = &call->account->profiles;
    uint32_t other = PROFILE_NONE;

    if (row->external_id.n)
        other = profiles_by_external_id(profiles, import_text(&call->import, row->external_id),
                                        row->external_id.n);
    return number != PROFILE_NONE && other != number ? other : PROFILE_NONE;
}

static void answer_conflict(struct call *call, uint32_t other)
{
    char id[PROFILE_ID_BYTES];
    struct strbuf *out = &call->answer->body;

    profiles_format_id(&call->account->profiles, other, id);
    answer_error(call->answer, 409, "duplicate_profile", "Conflict.", "/data/attributes",
                 "A profile already exists with one of these identifiers.");

    /* The error ends with an empty meta object, which is to hold the other's id. */
    strbuf_rewind(out, out->len - strlen("{}}]}"));
    strbuf_addf(out, "{\"duplicate_profile_id\":\"%s\"}}]}", id);
}

void call_profile_import(struct call *call)
{
    struct import *import = &call->import;
    const struct import_row *row = import->rows;

    if (import->problems.n > 0) {
        answer_problems(call->answer, &import->problems, "/data");
        return;
    }
    uint32_t known = profiles_by_row(&call->account->profiles, import, row);
    uint32_t other = conflicting(call, row, known);
    if (other != PROFILE_NONE) {
        answer_conflict(call, other);
        return;
    }
    uint32_t number =
        profiles_upsert(&call->account->profiles, import, row, NULLS_CLEAR, call->now_us);
    answer_profile(call, number, known == PROFILE_NONE ? 201 : 200);
}
