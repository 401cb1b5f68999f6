/*
 * The task `export preview`: what a run would do now; reads, and sends nothing
 * but questions. The answer's members stand in the command's --help.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "common/clock.h"
#include "worker/export/plan.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/store/history.h"
#include "worker/store/run_task.h"
#include "worker/task/json.h"
#include "worker/task/stored_key.h"
#include "worker/task/task_kind.h"

/* -- what the plan with Klaviyo allows -- */

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

/* A key that may not read it is no error: then usage is null, and usage_problem says why. */
static bool add_usage(const struct task_context *context, const struct run_task *task,
                      json_t *answer, struct error *err)
{
    struct usage usage = { .n = 0 };
    struct error why = ERROR_INIT;
    CLEANUP(klaviyo_query_freep)
    struct klaviyo_query *query = stored_key_query(context, task->connection_name, NULL, &why);

    if (query && klaviyo_query_usage(query, &usage, &why) == KLAVIYO_QUERY_ANSWERED) {
        (void)json_object_set_new(answer, "usage", usage_json(&usage));
        return true;
    }
    if (why.kind == ERROR_LOST) {
        *err = why;
        return false;
    }
    (void)json_object_set_new(answer, "usage", json_null());
    (void)json_object_set_new(answer, "usage_problem", json_string(why.text));
    return true;
}

/* -- how long a run would take -- */

/* How long the requests alone take at the pace that Klaviyo allows. */
static double seconds_of_requests(int64_t requests)
{
    struct endpoint_limit limit = endpoint_limit(ENDPOINT_IMPORT);

    return requests <= limit.per_minute ? (double)requests / limit.per_second
                                        : (double)requests / limit.per_minute * 60;
}

/*
 * To read, as long as it took here; to send, at the pace of the export's last
 * runs, or where there is none at the one that Klaviyo allows, with one poll of
 * the last job.
 */
static double expected_seconds(const struct task_context *context,
                               const struct plan_preview *preview, double reading,
                               double rows_per_second)
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

/* -- the answer -- */

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
                            double seconds)
{
    const struct run_counts *c = &preview->counts;

    return json_pack("{s:s, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:f, s:I, s:o}", "export",
                     task->export_name, "counts", "read", (json_int_t)c->read, "invalid",
                     (json_int_t)c->invalid, "duplicate", (json_int_t)c->duplicate, "unchanged",
                     (json_int_t)c->unchanged, "selected", (json_int_t)c->selected, "left",
                     (json_int_t)c->left, "requests", (json_int_t)preview->batches, "body_bytes",
                     (json_int_t)preview->body_bytes, "seconds", in_tenths(seconds), "max_profiles",
                     (json_int_t)task->max_profiles, "fields", fields_json(task, preview));
}

static bool read_preview(const struct task_context *context, const struct run_task *task,
                         json_t **answer, struct error *err)
{
    struct plan_preview preview;
    double rows_per_second;
    int64_t began_ms = clock_ms();

    if (!task_progress(context, "reading the members", 0, 0, err) ||
        !plan_preview(&context->settings->database_url, task, &preview, err))
        return false;
    double reading = (double)(clock_ms() - began_ms) / 1000;
    bool ok = history_pace(context->db, task->export_name, &rows_per_second, err);
    if (ok)
        *answer = preview_json(task, &preview,
                               expected_seconds(context, &preview, reading, rows_per_second));
    free(preview.fields);
    return ok && (*answer || error_no_memory(err));
}

bool export_preview_task(const struct task_context *context, const json_t *arguments,
                         json_t **answer, struct error *err)
{
    CLEANUP(run_task_freep) struct run_task *task = NULL;
    CLEANUP(json_freep) json_t *shown = NULL;
    const char *name = task_name(arguments);

    if (!run_task_for_preview(context->db, name, &task, err) ||
        !read_preview(context, task, &shown, err))
        return error_wrap(err, "export %s", name);
    if (!task_progress(context, "asking Klaviyo what the plan allows", 0, 0, err) ||
        !add_usage(context, task, shown, err))
        return false;
    *answer = json_take(&shown);
    return true;
}
