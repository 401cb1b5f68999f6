/*
 * The task `export preview`: what a run would do now; reads, and sends nothing
 * but questions. Argument: show (values of the examples, too). The answer is what
 * the command prints with --json, and usage_problem: why the plan is not known.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "worker/export/guards.h"
#include "worker/export/preview.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/klaviyo/member_json.h"
#include "worker/store/history.h"
#include "worker/store/rate_limit.h"
#include "worker/store/run_task.h"
#include "worker/task/payload_mask.h"
#include "worker/task/stored_key.h"
#include "worker/task/task_arguments.h"
#include "worker/task/task_kind.h"

/* A preview in the making. */
struct preview_work {
    const struct task_context *context;
    struct run_task *run; /* as a run would have it now */
    struct preview preview;
    int64_t members; /* counted before they are read; one of two segments twice */
    double reading_seconds;
    struct guards_facts facts;
    json_t *answer;
    bool incomplete; /* there was no memory for a part of it */
};

static void set(struct preview_work *l, const char *name, json_t *value)
{
    if (json_object_set_new(l->answer, name, value) != 0)
        l->incomplete = true;
}

/* -- reading -- */

static void note_members(void *opaque, const struct member_count *count)
{
    struct preview_work *l = opaque;

    l->members = count->members;
}

static bool go_on(void *opaque, const struct selection *selection)
{
    const struct preview_work *l = opaque;
    struct error ignored = ERROR_INIT;

    return task_progress(l->context, "reading the members", selection->seen, l->members, &ignored);
}

static bool read_members(struct preview_work *l, struct error *err)
{
    const struct scan_observer observer = {
        .opaque = l, .counted = note_members, .go_on = go_on, .stop_fd = l->context->stop_fd
    };
    const struct preview_options options = { l->context->settings->database_url, l->run,
                                             &observer };
    int64_t began_ms = clock_ms();

    if (!preview_read(&options, &l->preview, err))
        return false;
    l->reading_seconds = (double)(clock_ms() - began_ms) / 1000;
    return true;
}

/* -- how long a run would take -- */

static int64_t part_of(int64_t limit, int64_t percent)
{
    int64_t part = limit * percent / 100;

    return part > 0 ? part : 1;
}

/*
 * How long the requests alone take at the pace that the limiter allows this product:
 * a full minute's worth, then the next when that minute is over, and within each as
 * many a second as may be.
 */
static double seconds_of_requests(int64_t requests, int64_t share_percent)
{
    struct endpoint_limit limit = endpoint_limit(ENDPOINT_IMPORT);
    int64_t per_second = part_of(limit.per_second, share_percent);
    int64_t per_minute = part_of(limit.per_minute, share_percent);

    if (requests <= 0)
        return 0;
    int64_t minutes = (requests - 1) / per_minute, rest = requests - minutes * per_minute;
    return (double)(minutes * 60) + (double)rest / (double)per_second;
}

/* In tenths, and never 0: something has been read. */
static double in_tenths(double seconds)
{
    int64_t tenths = (int64_t)(seconds * 10 + 0.5);

    return (double)(tenths > 0 ? tenths : 1) / 10;
}

/*
 * To read, as long as it took here; to send, at the pace of the export's last
 * runs, or without any at the pace that the limiter allows, with one poll of the
 * last job.
 */
static bool add_seconds(struct preview_work *l, struct error *err)
{
    double rows_per_second, seconds = l->reading_seconds;
    int64_t share;

    if (!history_pace(l->context->db, l->run->export_name, &rows_per_second, err) ||
        !rate_limit_share(l->context->db, l->run->account, &share, err))
        return false;
    if (l->preview.batches > 0) {
        double sending = seconds_of_requests(l->preview.batches, share);
        double as_before =
            rows_per_second > 0 ? (double)l->preview.counts.selected / rows_per_second : 0;
        double poll = (double)l->context->settings->poll_interval_min_ms / 1000;
        seconds += rows_per_second > 0 ? sending : sending + poll;
        seconds = as_before > seconds ? as_before : seconds;
    }
    set(l, "seconds", json_real(in_tenths(seconds)));
    return true;
}

/* -- what was counted -- */

static int64_t addresses_of(const struct run_counts *c)
{
    return c->read - c->invalid - c->duplicate;
}

static json_t *counts_json(const struct run_counts *c)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "read", (json_int_t)c->read, "invalid",
                     (json_int_t)c->invalid, "duplicate", (json_int_t)c->duplicate, "unchanged",
                     (json_int_t)c->unchanged, "selected", (json_int_t)c->selected, "left",
                     (json_int_t)c->left);
}

/* By code; only those that there are. */
static json_t *invalid_json(const struct preview *preview)
{
    json_t *by_code = json_object();

    for (size_t i = 0; i < SELECTION_CODES; i++)
        if (preview->invalid_by[i] > 0)
            (void)json_object_set_new(by_code, selection_codes[i],
                                      json_integer(preview->invalid_by[i]));
    return by_code;
}

/* What the members that may be sent have of each field; share in percent, with one decimal. */
static json_t *fields_json(const struct run_task *task, const struct preview *preview)
{
    int64_t addresses = addresses_of(&preview->counts);
    json_t *fields = json_array();

    for (size_t i = 0; i < task->n_fields; i++) {
        const struct export_field *field = &task->fields[i];
        const struct mapping_count *count = &preview->fields[i];
        int64_t permille = addresses > 0 ? count->with_value * 1000 / addresses : 0;
        (void)json_array_append_new(
            fields, json_pack("{s:s, s:I, s:I, s:f}", field->is_property ? "property" : "attribute",
                              field->name, "with_value", (json_int_t)count->with_value, "no_text",
                              (json_int_t)count->no_text, "share", (double)permille / 10));
    }
    return fields;
}

/*
 * Addresses that are new, that changed, and whether everybody who was sent before
 * would be sent again, as after a change of the mapping.
 */
static void add_news(struct preview_work *l)
{
    const struct run_counts *c = &l->preview.counts;
    int64_t changed = c->selected > l->preview.fresh ? c->selected - l->preview.fresh : 0;

    set(l, "new", json_integer(l->preview.fresh));
    set(l, "changed", json_integer(changed));
    set(l, "everybody_anew", json_boolean(changed > 0 && c->unchanged == 0));
    set(l, "leaves",
        json_pack("{s:I, s:s, s:I}", "addresses", (json_int_t)c->left, "on_leave",
                  l->run->removes_leavers ? "remove" : "keep", "address_changes",
                  (json_int_t)l->preview.moved));
}

static void add_examples(struct preview_work *l, bool show)
{
    const struct scan_examples *found = &l->preview.examples;
    json_t *examples = json_array();

    for (size_t i = 0; i < found->n; i++) {
        struct bytes object = { found->object[i], strlen(found->object[i]) };
        CLEANUP(json_freep) json_t *payload = member_json_load(object);

        if ((!show && !payload_mask(payload)) || json_array_append(examples, payload) != 0)
            l->incomplete = true;
    }
    set(l, "examples", examples);
}

static bool add_counts(struct preview_work *l, bool show, struct error *err)
{
    const struct preview *p = &l->preview;

    set(l, "export", json_string(l->run->export_name));
    set(l, "counts", counts_json(&p->counts));
    set(l, "invalid_by", invalid_json(p));
    add_news(l);
    set(l, "requests", json_integer(p->batches));
    set(l, "body_bytes", json_integer(p->body_bytes));
    if (!add_seconds(l, err))
        return false;
    set(l, "max_profiles", json_integer(l->run->max_profiles));
    set(l, "fields", fields_json(l->run, p));
    add_examples(l, show);
    return true;
}

/* -- what Klaviyo says -- */

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

static void note_usage(struct preview_work *l, const struct usage *usage)
{
    const struct usage_row *row = usage_tightest(usage);

    set(l, "usage", usage_json(usage));
    l->facts.plan = GUARDS_KNOWN;
    l->facts.plan_used = row ? row->used : 0;
    l->facts.plan_maximum = row ? row->maximum : -1;
}

/* A key that may not read it is no error: then usage is null, and usage_problem says why. */
static void note_no_usage(struct preview_work *l, const struct error *why)
{
    set(l, "usage", json_null());
    set(l, "usage_problem", json_string(why->text));
    l->facts.plan = GUARDS_UNKNOWN;
}

static void ask_usage(struct preview_work *l, struct klaviyo_query *query, struct error *why)
{
    struct usage usage = { .n = 0 };

    if (query && klaviyo_query_usage(query, &usage, why) == KLAVIYO_QUERY_ANSWERED)
        note_usage(l, &usage);
    else
        note_no_usage(l, why);
}

/* Only where the guard that it is for could trip. */
static void ask_flows(struct preview_work *l, struct klaviyo_query *query, struct error *why)
{
    struct guards_questions ask =
        guards_questions(&l->run->guards, l->run->max_profiles, &l->facts);

    l->facts.flows = GUARDS_UNKNOWN;
    if (!ask.flows || !query)
        return;
    if (klaviyo_query_flows(query, l->run->list_id, false, &l->facts.live_flows, why) ==
        KLAVIYO_QUERY_ANSWERED)
        l->facts.flows = GUARDS_KNOWN;
    set(l, "live_flows",
        l->facts.flows == GUARDS_KNOWN ? json_integer(l->facts.live_flows) : json_null());
}

static void gather_facts(struct preview_work *l)
{
    const struct run_counts *c = &l->preview.counts;

    l->facts = (struct guards_facts){ .expected = l->preview.seen,
                                      .seen = l->preview.seen,
                                      .read_all = true,
                                      .read = c->read,
                                      .invalid = c->invalid,
                                      .distinct = c->unchanged + c->selected,
                                      .fresh = l->preview.fresh };
    memcpy(l->facts.invalid_by, l->preview.invalid_by, sizeof l->facts.invalid_by);
}

/* What would stop a run before its first import; null: nothing. */
static void add_guards(struct preview_work *l)
{
    const struct guards_names names = { l->run->export_name, l->run->list_id, l->run->email_field };
    struct guards_verdict verdict;

    guards_judge(&l->run->guards, l->run->max_profiles, &l->facts, &names, &verdict);
    set(l, "stopped_by",
        verdict.state == GUARDS_TRIPPED
            ? json_pack("{s:s, s:s}", "reason", run_reason_name(verdict.reason), "detail",
                        verdict.detail)
            : json_null());
}

static bool ask_klaviyo(struct preview_work *l, struct error *err)
{
    struct error why = ERROR_INIT;

    if (!task_progress(l->context, "asking Klaviyo what the plan allows", 0, 0, err))
        return false;
    CLEANUP(klaviyo_query_freep)
    struct klaviyo_query *query = stored_key_query(l->context, l->run->connection_name, NULL, &why);
    gather_facts(l);
    ask_usage(l, query, &why);
    ask_flows(l, query, &why);
    add_guards(l);
    return !task_is_stopped(l->context) || error_set(err, ERROR_LOST, "the task was stopped");
}

/* -- the task -- */

static bool look(struct preview_work *l, const char *name, bool show, struct error *err)
{
    if (!task_progress(l->context, "reading the members", 0, 0, err))
        return false;
    if (!run_task_for_preview(l->context->db, name, &l->run, err) || !read_members(l, err) ||
        !add_counts(l, show, err))
        return error_wrap(err, "export %s", name);
    return ask_klaviyo(l, err);
}

bool export_preview_task(const struct task_context *context, const json_t *arguments,
                         json_t **answer, struct error *err)
{
    CLEANUP(json_freep) json_t *shown = json_object();
    struct preview_work l = { .context = context, .answer = shown };
    bool show = json_is_true(json_object_get(arguments, "show"));
    bool ok = shown ? look(&l, task_name(arguments), show, err) : error_no_memory(err);

    preview_release(&l.preview);
    run_task_free(l.run);
    if (ok && l.incomplete)
        ok = error_no_memory(err);
    if (ok)
        *answer = json_take(&shown);
    return ok;
}
