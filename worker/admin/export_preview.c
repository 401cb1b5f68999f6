/* `export preview`: what a run would do now; reads, and sends nothing but one question. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "worker/admin/export.h"
#include "worker/admin/klaviyo_query.h"
#include "worker/admin/stored_key.h"
#include "worker/cli/arguments.h"
#include "worker/cli/json.h"
#include "worker/cli/table.h"
#include "worker/export/plan.h"
#include "worker/klaviyo/client.h"
#include "worker/store/history.h"
#include "worker/store/run_task.h"

/* -- what the plan with Klaviyo allows -- */

/* A key that may not read it is no error: then there is nothing to say. */
static bool ask_for_usage(struct context *context, const struct run_task *task, struct usage *usage,
                          struct error *err)
{
    CLEANUP(secret_release) struct secret key = SECRET_INIT;
    CLEANUP(sealed_key_release) struct sealed_key sealed = SEALED_KEY_INIT;

    if (!stored_key_open(context, task->connection_name, &key, &sealed, err))
        return false;
    CLEANUP(klaviyo_query_freep)
    struct klaviyo_query *query =
        klaviyo_query_new(context->settings, context->db, &key, task->account, err);
    return query && klaviyo_query_usage(query, usage, err) == KLAVIYO_QUERY_ANSWERED;
}

static json_t *usage_json(const struct usage *usage)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < usage->n; i++) {
        const struct usage_row *row = &usage->rows[i];
        json_t *maximum = row->maximum >= 0 ? json_integer(row->maximum) : json_null();
        (void)json_array_append_new(rows, json_pack("{s:s, s:I, s:o}", "kind", row->name, "used",
                                                    (json_int_t)row->used, "maximum", maximum));
    }
    return rows;
}

static void warn_of_usage(const struct usage *usage, int64_t selected)
{
    for (size_t i = 0; i < usage->n; i++) {
        const struct usage_row *row = &usage->rows[i];
        if (row->maximum >= 0 && selected > row->maximum - row->used)
            warn_user("the Klaviyo plan allows %" PRId64 " profiles (%s) and %" PRId64
                      " are used: %" PRId64 " more may not fit",
                      row->maximum, row->name, row->used, selected);
    }
}

/* Null where it is not known. */
static json_t *look_at_usage(struct context *context, const struct run_task *task, int64_t selected)
{
    struct usage usage = { .n = 0 };
    struct error err = ERROR_INIT;

    bool ok = client_library_init(&err);
    if (ok) {
        ok = ask_for_usage(context, task, &usage, &err);
        client_library_release();
    }
    if (!ok) {
        warn_user("what the Klaviyo plan allows is not known: %s", err.text);
        return json_null();
    }
    warn_of_usage(&usage, selected);
    return usage_json(&usage);
}

/* -- the preview itself -- */

/* How long the requests alone take at the pace that Klaviyo allows. */
static double seconds_of_requests(int64_t requests)
{
    struct endpoint_limit limit = endpoint_limit(ENDPOINT_IMPORT);

    return requests <= limit.per_minute ? (double)requests / limit.per_second
                                        : (double)requests / limit.per_minute * 60;
}

/*
 * What a run would take: to read, as long as it took here; to send, at the pace
 * of the export's last runs, or where there is none at the one that Klaviyo
 * allows, with one poll of the last job.
 */
static double expected_seconds(const struct context *context, const struct plan_preview *preview,
                               double reading, double rows_per_second)
{
    double sending = seconds_of_requests(preview->batches);

    if (preview->batches == 0)
        return reading;
    if (rows_per_second <= 0)
        return reading + sending + (double)context->settings->poll_interval_min_ms / 1000;
    double as_before = (double)preview->counts.selected / rows_per_second;
    return as_before > reading + sending ? as_before : reading + sending;
}

/* In tenths, and never none: something has been read. */
static double in_tenths(double seconds)
{
    int64_t tenths = (int64_t)(seconds * 10 + 0.5);

    return (double)(tenths > 0 ? tenths : 1) / 10;
}

static void warn_of_limit(const struct run_task *task, int64_t addresses)
{
    if (addresses > task->max_profiles)
        warn_user("a run would fail: %" PRId64 " addresses, --max-profiles is %" PRId64
                  ": klaviyo-worker export update %s --max-profiles %" PRId64 " lets them through",
                  addresses, task->max_profiles, task->export_name, addresses);
}

/* As many as an alert tells of, once runs have counted them. */
static void warn_of_invalid(const struct run_counts *c)
{
    if (c->invalid * 5 > c->read)
        warn_user("%" PRId64 " of %" PRId64 " members would not be sent: they have no well-formed "
                  "address in the e-mail field, or are too large",
                  c->invalid, c->read);
}

/* Fields that nobody has, and values that Klaviyo would refuse, with them the whole row. */
static void warn_of_fields(const struct run_task *task, const struct plan_preview *preview)
{
    const struct run_counts *c = &preview->counts;
    int64_t addresses = c->read - c->invalid - c->duplicate;

    for (size_t i = 0; i < task->n_fields; i++) {
        if (addresses > 0 && preview->fields[i].with_value == 0)
            warn_user("--%s %s: none of %" PRId64 " members has a value for it",
                      task->fields[i].is_property ? "property" : "attribute", task->fields[i].name,
                      addresses);
        if (preview->fields[i].no_text > 0)
            warn_user("--attribute %s: %" PRId64 " of %" PRId64 " members have an object or an "
                      "array there, which Klaviyo does not take: they are sent without it",
                      task->fields[i].name, preview->fields[i].no_text, addresses);
    }
}

/* What the members that may be sent have of each field. */
static json_t *fields_json(const struct run_task *task, const struct plan_preview *preview)
{
    json_t *fields = json_array();

    for (size_t i = 0; i < task->n_fields; i++) {
        const struct export_field *field = &task->fields[i];
        const struct mapping_count *count = &preview->fields[i];
        (void)json_array_append_new(
            fields, json_pack("{s:s, s:I, s:I}", field->is_property ? "property" : "attribute",
                              field->name, "with_value", (json_int_t)count->with_value, "no_text",
                              (json_int_t)count->no_text));
    }
    return fields;
}

static json_t *preview_json(const struct run_task *task, const struct plan_preview *preview,
                            double seconds, json_t *usage)
{
    const struct run_counts *c = &preview->counts;

    return json_pack("{s:s, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:f, s:I, s:o, s:o}",
                     "export", task->export_name, "counts", "read", (json_int_t)c->read, "invalid",
                     (json_int_t)c->invalid, "duplicate", (json_int_t)c->duplicate, "unchanged",
                     (json_int_t)c->unchanged, "selected", (json_int_t)c->selected, "left",
                     (json_int_t)c->left, "requests", (json_int_t)preview->batches, "body_bytes",
                     (json_int_t)preview->body_bytes, "seconds", in_tenths(seconds), "max_profiles",
                     (json_int_t)task->max_profiles, "fields", fields_json(task, preview), "usage",
                     usage);
}

static bool print(const json_t *shown, bool as_json, struct error *err)
{
    char *json = json_dumps(shown, 0);
    bool ok = json ? details_print(json, as_json, err) : error_no_memory(err);

    free(json);
    return ok;
}

bool export_preview(struct context *context, const struct arguments *arguments, struct error *err)
{
    CLEANUP(run_task_freep) struct run_task *task = NULL;
    struct plan_preview preview;
    double rows_per_second;
    int64_t began_ms = clock_ms();

    if (!run_task_for_preview(context->db, arguments->operands[0], &task, err) ||
        !plan_preview(&context->settings->database_url, task, &preview, err) ||
        !history_pace(context->db, task->export_name, &rows_per_second, err))
        return error_wrap(err, "export %s", arguments->operands[0]);
    double reading = (double)(clock_ms() - began_ms) / 1000;
    double seconds = expected_seconds(context, &preview, reading, rows_per_second);
    const struct run_counts *c = &preview.counts;
    warn_of_limit(task, c->read - c->invalid - c->duplicate);
    warn_of_invalid(c);
    warn_of_fields(task, &preview);
    json_t *usage = look_at_usage(context, task, c->selected);
    CLEANUP(json_freep) json_t *shown = preview_json(task, &preview, seconds, usage);
    free(preview.fields);
    return shown ? print(shown, arguments_flag(arguments, "--json"), err) : error_no_memory(err);
}
