#include <inttypes.h>
#include <string.h>

#include "common/age.h"
#include "common/parse.h"
#include "worker/http/chart.h"
#include "worker/http/html.h"
#include "worker/http/page.h"
#include "worker/http/page_lists.h"
#include "worker/http/page_notices.h"
#include "worker/http/page_parts.h"
#include "worker/store/overview.h"

enum { SPANS_MAX = 24 };

static const json_t *find_export(const json_t *exports, const char *name)
{
    for (size_t i = 0; i < json_array_size(exports); i++)
        if (strcmp(page_text_of(json_array_get(exports, i), "name"), name) == 0)
            return json_array_get(exports, i);
    return NULL;
}

static const json_t *find_run(const json_t *runs, int64_t run_id)
{
    for (size_t i = 0; i < json_array_size(runs); i++)
        if (page_count_of(json_array_get(runs, i), "id") == run_id)
            return json_array_get(runs, i);
    return NULL;
}

static void begin_facts(struct strbuf *out)
{
    strbuf_add_str(out, "<dl class=\"facts\">");
}

static void add_fact(struct strbuf *out, const char *name, const char *value)
{
    if (!*value)
        return;
    strbuf_addf(out, "<dt>%s</dt><dd>", name);
    html_add_text(out, value);
    strbuf_add_str(out, "</dd>");
}

static void add_fact_number(struct strbuf *out, const char *name, int64_t value)
{
    strbuf_addf(out, "<dt>%s</dt><dd>", name);
    html_add_count(out, value);
    strbuf_add_str(out, "</dd>");
}

static void add_fact_time(struct strbuf *out, const char *name, const char *time, int64_t now_us)
{
    strbuf_addf(out, "<dt>%s</dt><dd>", name);
    html_add_time(out, time, now_us);
    strbuf_add_str(out, "</dd>");
}

static void add_fact_span(struct strbuf *out, const char *name, int64_t us)
{
    strbuf_addf(out, "<dt>%s</dt><dd>", name);
    age_add_span(out, (us + 500000) / 1000000);
    strbuf_add_str(out, "</dd>");
}

static void end_facts(struct strbuf *out)
{
    strbuf_add_str(out, "</dl>\n");
}

/* ---- an export ---- */

static void add_segments(struct strbuf *out, const json_t *export)
{
    const json_t *segments = json_object_get(export, "segments");

    strbuf_add_str(out, "<dt>Segments</dt><dd>");
    for (size_t i = 0; i < json_array_size(segments); i++) {
        const char *name = json_string_value(json_array_get(segments, i));

        strbuf_add_str(out, i > 0 ? ", " : "");
        html_add_text(out, name ? name : "");
    }
    strbuf_add_str(out, "</dd>");
}

static void add_export(struct strbuf *out, const struct page_lists *lists, const json_t *export,
                       int64_t now_us)
{
    const char *name = page_text_of(export, "name");

    strbuf_add_str(out, "<h2>Export ");
    html_add_text(out, name);
    strbuf_add_str(out, "</h2>\n");
    begin_facts(out);
    add_fact(out, "Connection", page_text_of(export, "connection"));
    add_fact(out, "List", page_text_of(export, "list"));
    add_fact(out, "Name of the list", page_text_of(export, "list_name"));
    add_segments(out, export);
    add_fact(out, "E-mail field", page_text_of(export, "email_field"));
    add_fact_number(out, "Profiles at most", page_count_of(export, "max_profiles"));
    add_fact(out, "Members who leave", page_text_of(export, "on_leave"));
    add_fact(out, "State", page_text_of(export, "state"));
    add_fact(out, "Paused because of", page_text_of(export, "pause_reason"));
    add_fact_time(out, "Last success", page_text_of(export, "last_success"), now_us);
    end_facts(out);
    strbuf_add_str(out, "<h3>Last runs</h3><div class=\"trend\">");
    page_add_trend(out, json_object_get(json_object_get(lists->report, "trends"), name));
    strbuf_add_str(out, "</div>\n");
    page_add_run_table(out, lists->runs, name, OVERVIEW_RUNS, now_us);
    strbuf_addf(out,
                "<p class=\"soft\">Those of the newest %d runs of all exports, and the one in "
                "progress; <code>klaviyo-worker runs list --export</code> shows older ones.</p>\n",
                OVERVIEW_RUNS);
}

/* Old lists cannot say that something is not there. */
static void add_missing(struct strbuf *out, const struct page_facts *facts, const char *what,
                        const char *unknown)
{
    strbuf_addf(out,
                "<p class=\"notice\" role=\"status\">%s <a href=\"/\">To the overview</a></p>\n",
                snapshot_view_is_current(facts->database, facts->now_ms) ? what : unknown);
}

bool page_write_export(const struct page_facts *facts, const char *name, struct strbuf *out,
                       bool *found, struct error *err)
{
    CLEANUP(page_lists_release) struct page_lists lists = { .runs = NULL };

    if (!page_lists_parse(&lists, &facts->database->lists, err))
        return false;
    const json_t *export = find_export(lists.exports, name);
    page_begin(out, facts, "Export");
    page_add_database_notice(out, facts);
    if (export)
        add_export(out, &lists, export, facts->now_us);
    else
        add_missing(out, facts, "There is no export of that name.",
                    "Whether there is an export of that name is not known yet.");
    page_end(out);
    *found = export != NULL;
    return strbuf_ok(out) || error_no_memory(err);
}

/* ---- a run ---- */

static void add_read_chart(struct strbuf *out, const json_t *counts)
{
    const struct chart_part parts[] = {
        { "invalid", page_count_of(counts, "invalid"), "bad" },
        { "duplicate", page_count_of(counts, "duplicate"), "soft" },
        { "unchanged", page_count_of(counts, "unchanged"), "good" },
        { "to be sent", page_count_of(counts, "selected"), "busy" },
    };

    strbuf_add_str(out, "<h3>Members read: ");
    html_add_count(out, page_count_of(counts, "read"));
    strbuf_add_str(out, "</h3>\n");
    chart_add_parts(out, parts, sizeof parts / sizeof parts[0], "what became of the members read");
}

static void add_sent_chart(struct strbuf *out, const json_t *counts)
{
    int64_t selected = page_count_of(counts, "selected");
    int64_t accepted = page_count_of(counts, "accepted");
    int64_t rejected = page_count_of(counts, "rejected");
    const struct chart_part parts[] = {
        { "accepted", accepted, "good" },
        { "rejected", rejected, "bad" },
        { "open", selected - accepted - rejected, "soft" },
    };

    strbuf_add_str(out, "<h3>Profiles to be sent: ");
    html_add_count(out, selected);
    strbuf_add_str(out, "</h3>\n");
    chart_add_parts(out, parts, sizeof parts / sizeof parts[0], "what became of the profiles");
}

/* Of a run in progress; the batches of one that has ended are gone. */
static void add_batch_chart(struct strbuf *out, const json_t *batches)
{
    const struct chart_part parts[] = {
        { "confirmed", page_count_of(batches, "complete"), "good" },
        { "unresolved", page_count_of(batches, "unresolved"), "bad" },
        { "at Klaviyo", page_count_of(batches, "sent"), "busy" },
        { "to be sent", page_count_of(batches, "planned"), "soft" },
    };

    if (!batches)
        return;
    strbuf_add_str(out, "<h3>Batches</h3>\n");
    chart_add_parts(out, parts, sizeof parts / sizeof parts[0], "the batches of this run");
}

static int64_t us_of(const json_t *run, const char *name)
{
    const char *time = page_text_of(run, name);
    int64_t at_us;

    return parse_rfc3339(time, strlen(time), &at_us) ? at_us : 0;
}

/* A job that has not ended by now, or by the end of its run, extends to the right edge. */
static struct chart_span span_of(const json_t *span, double whole_s)
{
    const json_t *to = json_array_get(span, 1);
    const char *state = json_string_value(json_array_get(span, 3));
    const char *css_class = !json_is_number(to)                         ? "busy"
                            : state && strcmp(state, "unresolved") == 0 ? "bad"
                                                                        : "good";

    return (struct chart_span){ json_number_value(json_array_get(span, 0)) / whole_s,
                                json_is_number(to) ? json_number_value(to) / whole_s : 1,
                                css_class };
}

static void add_spans(struct strbuf *out, const json_t *spans, int64_t whole_us)
{
    struct chart_span shown[SPANS_MAX];
    size_t n = json_array_size(spans) < SPANS_MAX ? json_array_size(spans) : SPANS_MAX;

    for (size_t i = 0; i < n; i++)
        shown[i] = span_of(json_array_get(spans, i), (double)whole_us / 1e6);
    chart_add_spans(out, shown, n, "when the batches were imported, from the start of the run");
    strbuf_add_str(out, "<p class=\"axis soft\"><span>start</span><span>");
    age_add_span(out, (whole_us + 500000) / 1000000);
    strbuf_add_str(out,
                   "</span></p>\n<p class=\"soft\">A bar goes from an import to the end of its "
                   "job; many batches are shown together.</p>\n");
}

/* Of what was imported; a run of an earlier version has none. */
static void add_timeline(struct strbuf *out, const json_t *run, const json_t *spans, int64_t now_us)
{
    int64_t from_us = us_of(run, "started_at"), to_us = us_of(run, "finished_at");
    int64_t whole_us = (to_us > 0 ? to_us : now_us) - from_us;

    if (from_us == 0 || page_count_of(json_object_get(run, "counts"), "selected") == 0)
        return;
    strbuf_add_str(out, "<h3>Batches over time</h3>\n");
    if (json_array_size(spans) > 0 && whole_us > 0)
        add_spans(out, spans, whole_us);
    else
        strbuf_add_str(out, "<p class=\"soft\">No import is known.</p>\n");
}

static void add_leavers(struct strbuf *out, const json_t *counts)
{
    if (page_count_of(counts, "left") == 0)
        return;
    add_fact_number(out, "Left the segment", page_count_of(counts, "left"));
    add_fact_number(out, "Taken off the list", page_count_of(counts, "removed"));
    add_fact_number(out, "Kept on the list", page_count_of(counts, "kept"));
}

static void add_run_facts(struct strbuf *out, const json_t *run, int64_t now_us)
{
    const json_t *counts = json_object_get(run, "counts");

    begin_facts(out);
    add_fact(out, "Connection", page_text_of(run, "connection"));
    add_fact(out, "Trigger", page_text_of(run, "trigger"));
    if (json_is_true(json_object_get(run, "full")))
        add_fact(out, "Members", "all, changed or not");
    add_fact(out, "Worker", page_text_of(run, "worker"));
    add_fact_number(out, "Events answered", page_count_of(run, "events"));
    add_fact_time(out, "Queued", page_text_of(run, "queued_at"), now_us);
    add_fact_time(out, "Started", page_text_of(run, "started_at"), now_us);
    add_fact_time(out, "Ended", page_text_of(run, "finished_at"), now_us);
    if (us_of(run, "finished_at") > 0 && us_of(run, "started_at") > 0)
        add_fact_span(out, "Took", us_of(run, "finished_at") - us_of(run, "started_at"));
    add_fact_number(out, "Requests", page_count_of(counts, "requests"));
    add_fact_number(out, "Throttled", page_count_of(counts, "throttled"));
    add_fact_number(out, "Retries", page_count_of(counts, "retries"));
    add_leavers(out, counts);
    end_facts(out);
}

static void add_run(struct strbuf *out, const struct page_lists *lists, const json_t *run,
                    int64_t now_us)
{
    const json_t *counts = json_object_get(run, "counts");

    strbuf_addf(out, "<h2>Run %" PRId64 " of ", page_count_of(run, "id"));
    page_add_export_link(out, page_text_of(run, "export"));
    strbuf_add_str(out, "</h2>\n<p>");
    page_add_state(out, page_text_of(run, "state"));
    page_add_reason(out, run);
    strbuf_add_str(out, "</p>\n");
    add_read_chart(out, counts);
    add_sent_chart(out, counts);
    add_batch_chart(out, page_of_run(lists->report, "batches", run));
    add_timeline(out, run, page_of_run(lists->report, "timelines", run), now_us);
    add_run_facts(out, run, now_us);
}

bool page_write_run(const struct page_facts *facts, int64_t run_id, struct strbuf *out, bool *found,
                    struct error *err)
{
    CLEANUP(page_lists_release) struct page_lists lists = { .runs = NULL };

    if (!page_lists_parse(&lists, &facts->database->lists, err))
        return false;
    const json_t *run = find_run(lists.runs, run_id);
    page_begin(out, facts, "Run");
    page_add_database_notice(out, facts);
    if (run)
        add_run(out, &lists, run, facts->now_us);
    else
        add_missing(out, facts,
                    "This run is not among the newest 100, nor among those in progress that are "
                    "shown here: <code>klaviyo-worker runs show</code> knows it.",
                    "What became of this run is not known yet.");
    page_end(out);
    *found = run != NULL;
    return strbuf_ok(out) || error_no_memory(err);
}
