/* What upstream has: segments, and the fields of their members. */
#include "worker/admin/segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/json.h"
#include "common/nearest.h"
#include "worker/admin/name.h"
#include "worker/cli/arguments.h"
#include "worker/cli/listing.h"
#include "worker/cli/print.h"
#include "worker/cli/table.h"
#include "worker/store/segments.h"

static bool list(struct context *context, struct error *err)
{
    static const struct column columns[] = { { "SEGMENT", "segment", false, true },
                                             { "NAME", "name", false, true },
                                             { "MEMBERS", "members", true, false },
                                             { NULL, NULL, false, false } };
    char *json;

    if (!segments_list(context->db, &json, err))
        return false;
    bool ok = listing_print(context, columns, json,
                            "There is no segment: upstream fills insights.segment.", err);
    free(json);
    return ok;
}

/* -- fields -- */

static bool no_such_segment(struct db *db, const char *segment, struct error *err)
{
    struct nearest nearest = NEAREST_INIT(segment);
    char *text = NULL;

    if (!segments_names(db, &text, err))
        return false;
    CLEANUP(json_freep) json_t *names = json_loads(text, 0, NULL);
    free(text);
    for (size_t i = 0; i < json_array_size(names); i++)
        nearest_offer(&nearest, json_string_value(json_array_get(names, i)));
    if (nearest.best)
        return error_set(err, ERROR_INPUT, "there is no segment %s: did you mean %s?", segment,
                         nearest.best);
    return error_set(err, ERROR_INPUT, "there is no segment %s: segment list shows them", segment);
}

/* "string", or "string, number"; the most frequent first, as the database has them. */
static void join_types(const json_t *types, char *text, size_t size)
{
    size_t i, len = 0;
    json_t *type;

    text[0] = '\0';
    json_array_foreach(types, i, type)
        if (len < size)
            len += (size_t)snprintf(text + len, size - len, "%s%s", i > 0 ? ", " : "",
                                    json_string_value(json_object_get(type, "type")));
}

static bool print_fields(json_t *fields, struct error *err)
{
    static const struct column columns[] = { { "FIELD", "field", false, true },
                                             { "TYPE", "type", false, false },
                                             { "SHARE", "percent", true, false },
                                             { "ADDRESSES", "addresses", true, false },
                                             { NULL, NULL, false, false } };
    size_t i;
    json_t *field;

    json_array_foreach(fields, i, field) {
        char types[128], percent[32];

        join_types(json_object_get(field, "types"), types, sizeof types);
        (void)snprintf(percent, sizeof percent, "%.1f %%",
                       json_number_value(json_object_get(field, "share")));
        (void)json_object_set_new(field, "type", json_string(types));
        (void)json_object_set_new(field, "percent", json_string(percent));
    }
    char *json = json_dumps(fields, 0);
    bool ok = json ? table_print(columns, json, false, "Its members have no attributes.", err)
                   : error_no_memory(err);
    free(json);
    return ok;
}

static bool print_seen(const char *text, bool as_json, struct error *err)
{
    if (as_json)
        return details_print(text, true, err);
    CLEANUP(json_freep) json_t *seen = json_loads(text, 0, NULL);
    int64_t members = json_integer_value(json_object_get(seen, "members"));
    int64_t looked_at = json_integer_value(json_object_get(seen, "looked_at"));
    if (looked_at < members)
        print_line("Of %" PRId64 " members, %" PRId64 " were looked at.", members, looked_at);
    else
        print_line("%" PRId64 " members.", members);
    return print_fields(json_object_get(seen, "fields"), err);
}

static bool fields(struct context *context, struct error *err)
{
    const char *segment = context->arguments->operands[0];
    char *text = NULL;

    if (!name_check(context, "segment", segment, err) ||
        !segments_fields(context->db, segment, &text, err))
        return false;
    if (!text)
        return no_such_segment(context->db, segment, err);
    bool ok = print_seen(text, arguments_flag(context->arguments, "--json"), err);
    free(text);
    return ok;
}

static const struct option_spec list_options[] = { OPTIONS_OF_LISTING, OPTIONS_END };
static const struct option_spec json_options[] = { OPTION_JSON, OPTIONS_END };

/* clang-format off */
const struct command segment_commands[] = {
    { .words = "segment list", .who = EXPORTERS, .operands = "",
      .options = list_options, .needs = NEEDS_DATABASE,
      .summary = "list the segments of the source and how many members each has", .run = list },
    { .words = "segment fields", .who = EXPORTERS, ONE_OPERAND("SEGMENT"),
      .options = json_options, .needs = NEEDS_DATABASE,
      .summary = "list the member fields of a segment, as options of export add take them",
      .details = "Paths, JSON types, the share of members that have each, and how many of the values are\n"
                 "well-formed addresses; no value is shown. Exact up to 10,000 members, above that from\n"
                 "a sample of that size.", .run = fields },
    { .words = NULL },
};
/* clang-format on */
