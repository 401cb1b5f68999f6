#include "worker/http/page.h"

#include <inttypes.h>
#include <string.h>

#include "common/age.h"
#include "page_text.h"
#include "worker/http/chart.h"
#include "worker/http/html.h"
#include "worker/http/metrics_report.h"
#include "worker/http/page_lists.h"
#include "worker/http/page_notices.h"
#include "worker/http/page_parts.h"
#include "worker/klaviyo/endpoint.h"

enum {
    EXPORTS_SHOWN = 200, /* beyond, the page would be larger than a browser likes twice a second */
    EXPORTS_OPEN = 25,   /* the rest is folded, so that what is below stays in reach */
    RUNS_SHOWN = 20,
    MINUTES = 60,
};

const char *page_style(void)
{
    return page_text_page_style;
}

const char *page_script(void)
{
    return page_text_page_script;
}

/* Has the database said what exports and runs there are? */
static bool is_known(const struct page_facts *facts)
{
    return facts->database->read_ms > 0;
}

/* ---- figures ---- */

static void add_figure(struct strbuf *out, const char *name, int64_t number)
{
    strbuf_add_str(out, "<li><b>");
    html_add_count(out, number);
    strbuf_addf(out, "</b>%s</li>", name);
}

static int64_t sum_of_lags(const struct page_facts *facts)
{
    int64_t sum = 0;

    for (size_t i = 0; i < facts->n_partitions; i++) {
        int64_t lag = metrics_report_lag(&facts->partitions[i]);
        sum += lag > 0 ? lag : 0;
    }
    return sum;
}

static void add_figures(struct strbuf *out, const struct page_facts *facts)
{
    const struct overview *overview = &facts->database->overview;

    strbuf_add_str(out, "<ul class=\"figures\">");
    if (is_known(facts)) {
        add_figure(out, "runs in progress", overview->running);
        add_figure(out, "of them waiting", overview->waiting);
        add_figure(out, "runs queued", overview->queued);
    }
    add_figure(out, "events open here", facts->open_events);
    add_figure(out, "events of lag here", sum_of_lags(facts));
    strbuf_addf(out, "<li><b>%" PRId64 " of %" PRId64 "</b>slots busy here</li></ul>\n",
                facts->busy_slots, facts->all_slots);
}

/* ---- exports ---- */

static bool is_stale(const json_t *export)
{
    return json_is_true(json_object_get(export, "stale"));
}

static void add_export_name(struct strbuf *out, const json_t *export)
{
    const char *list = page_text_of(export, "list_name");

    strbuf_add_str(out, "<td class=\"wide name\" data-name=\"Export\"><b>");
    page_add_export_link(out, page_text_of(export, "name"));
    strbuf_add_str(out, "</b><span class=\"detail\">list ");
    html_add_text(out, *list ? list : page_text_of(export, "list"));
    strbuf_add_str(out, ", connection ");
    html_add_text(out, page_text_of(export, "connection"));
    strbuf_add_str(out, "</span></td>");
}

/* What an administrator would want to see first: paused, stale, or how its last run ended. */
static void add_export_state(struct strbuf *out, const json_t *export, const json_t *trend)
{
    const json_t *last = json_array_get(trend, json_array_size(trend) - 1);
    const char *state = json_string_value(json_array_get(last, 1));

    strbuf_add_str(out, "<td data-name=\"Last run\"><span>");
    if (state)
        page_add_state(out, state);
    else
        strbuf_add_str(out, "<span class=\"soft\">none yet</span>");
    if (strcmp(page_text_of(export, "state"), "paused") == 0)
        strbuf_add_str(out, " <span class=\"badge soft\">paused</span>");
    if (is_stale(export))
        strbuf_add_str(out, " <span class=\"badge bad\">stale</span>");
    strbuf_add_str(out, "</span></td>");
}

static void add_export(struct strbuf *out, const json_t *export, const json_t *trends,
                       int64_t now_us)
{
    const json_t *trend = json_object_get(trends, page_text_of(export, "name"));
    const json_t *members = json_object_get(export, "members");

    strbuf_add_str(out, "<tr>");
    add_export_name(out, export);
    page_add_time_cell(out, "Last success", page_text_of(export, "last_success"), now_us);
    if (json_is_integer(members))
        page_add_number_cell(out, "Members", json_integer_value(members));
    else
        strbuf_add_str(out, "<td class=\"n\" data-name=\"Members\">–</td>");
    add_export_state(out, export, trend);
    strbuf_add_str(out, "<td data-name=\"Trend\">");
    page_add_trend(out, trend);
    strbuf_add_str(out, "</td></tr>\n");
}

/* Those from one index up to another in the order of the page, which is: stale ones first. */
static void add_export_rows(struct strbuf *out, const struct page_lists *lists, size_t from,
                            size_t to, int64_t now_us)
{
    const json_t *trends = json_object_get(lists->report, "trends");
    size_t place = 0;

    for (int stale = 1; stale >= 0; stale--)
        for (size_t i = 0; i < json_array_size(lists->exports); i++) {
            const json_t *export = json_array_get(lists->exports, i);

            if (is_stale(export) != stale)
                continue;
            if (place >= from && place < to)
                add_export(out, export, trends, now_us);
            place++;
        }
}

static void add_export_table(struct strbuf *out, const struct page_lists *lists, size_t from,
                             size_t to, int64_t now_us)
{
    strbuf_add_str(out, "<table><thead><tr><th>Export</th><th class=\"n\">Last success</th>"
                        "<th class=\"n\">Members</th><th>Last run</th><th>Last 20 runs</th>"
                        "</tr></thead><tbody>\n");
    add_export_rows(out, lists, from, to, now_us);
    strbuf_add_str(out, "</tbody></table>\n");
}

static void add_exports(struct strbuf *out, const struct page_lists *lists, int64_t now_us)
{
    size_t n = json_array_size(lists->exports);

    strbuf_add_str(out, "<section aria-labelledby=\"exports\"><h2 id=\"exports\">Exports</h2>\n");
    if (n == 0)
        strbuf_add_str(out, "<p class=\"soft\">There is no export: <code>klaviyo-worker export "
                            "add</code> makes one.</p>");
    else
        add_export_table(out, lists, 0, EXPORTS_OPEN, now_us);
    if (n > EXPORTS_OPEN) {
        strbuf_addf(out, "<details id=\"more-exports\"><summary>%zu more exports</summary>",
                    n - EXPORTS_OPEN);
        add_export_table(out, lists, EXPORTS_OPEN, EXPORTS_SHOWN, now_us);
        if (n > EXPORTS_SHOWN)
            strbuf_addf(out,
                        "<p class=\"soft\">And %zu more: <code>klaviyo-worker export list</code> "
                        "shows them.</p>\n",
                        n - EXPORTS_SHOWN);
        strbuf_add_str(out, "</details>\n");
    }
    strbuf_add_str(out, "</section>\n");
}

/* ---- runs ---- */

static void add_further_runs(struct strbuf *out, int64_t n)
{
    if (n > 0)
        strbuf_addf(out,
                    "<p class=\"soft\">And %" PRId64 " more: <code>klaviyo-worker runs list "
                    "--state waiting</code> shows those that wait.</p>\n",
                    n);
}

static void add_open_runs(struct strbuf *out, const struct page_facts *facts,
                          const struct page_lists *lists)
{
    int64_t shown = 0;

    for (size_t i = 0; i < json_array_size(lists->runs); i++) {
        const json_t *run = json_array_get(lists->runs, i);

        if (!page_run_is_open(run))
            continue;
        if (shown == 0)
            strbuf_add_str(out, "<section aria-labelledby=\"now\"><h2 id=\"now\">Going on</h2>"
                                "<ul class=\"cards\">\n");
        shown++;
        page_add_open_run(out, run, lists->report, facts->now_us);
    }
    if (shown == 0)
        return;
    strbuf_add_str(out, "</ul>\n");
    add_further_runs(out, facts->database->overview.running - shown);
    strbuf_add_str(out, "</section>\n");
}

static void add_runs(struct strbuf *out, const json_t *runs, int64_t now_us)
{
    strbuf_add_str(out, "<section aria-labelledby=\"runs\"><h2 id=\"runs\">"
                        "Runs of all workers, newest first</h2>\n");
    if (json_array_size(runs) == 0)
        strbuf_add_str(out, "<p class=\"soft\">There is no run.</p>\n");
    else
        page_add_run_table(out, runs, NULL, RUNS_SHOWN, now_us);
    strbuf_add_str(out, "</section>\n");
}

/* ---- the last hour, accounts ---- */

static void add_minutes(struct strbuf *out, const json_t *report)
{
    const json_t *minutes = json_object_get(report, "minutes");
    int64_t values[MINUTES];
    int64_t sum = 0;
    char label[96];

    if (json_array_size(minutes) != MINUTES)
        return;
    for (size_t i = 0; i < MINUTES; i++) {
        values[i] = json_integer_value(json_array_get(minutes, i));
        sum += values[i];
    }
    (void)snprintf(label, sizeof label, "%" PRId64 " profiles in the last hour", sum);
    strbuf_add_str(out,
                   "<div class=\"card\"><h3>Profiles in the last hour</h3><b class=\"large\">");
    html_add_count(out, sum);
    strbuf_add_str(out, "</b>");
    chart_add_area(out, values, MINUTES, label);
    strbuf_add_str(out,
                   "<span class=\"detail\">by the minute in which their run ended</span></div>\n");
}

/* Imports that all workers together may do in a minute: this product's share of the limit. */
static int64_t limit_of(const json_t *account)
{
    int64_t limit =
        endpoint_limit(ENDPOINT_IMPORT).per_minute * page_count_of(account, "share") / 100;

    return limit > 1 ? limit : 1;
}

/* What Klaviyo said last of how many profiles the contract allows. */
static void add_account_plan(struct strbuf *out, const json_t *plan, int64_t now_us)
{
    int64_t used = page_count_of(plan, "used"), maximum = page_count_of(plan, "maximum");

    if (!json_is_object(plan)) {
        strbuf_add_str(out, "<span class=\"detail\">What the Klaviyo plan allows is not known yet: "
                            "<code>export preview</code> asks.</span>");
        return;
    }
    strbuf_add_str(out, "<div class=\"plan\">");
    html_add_count(out, used);
    if (maximum > 0) {
        strbuf_add_str(out, " of ");
        html_add_count(out, maximum);
        strbuf_add_str(out, " profiles of the Klaviyo plan");
        chart_add_gauge(out, used, maximum, "profiles used of those that the plan allows");
    } else {
        strbuf_add_str(out, " profiles; the Klaviyo plan names no limit");
    }
    strbuf_add_str(out, "<span class=\"detail\">as of ");
    html_add_time(out, page_text_of(plan, "at"), now_us);
    strbuf_add_str(out, "</span></div>");
}

static void add_account(struct strbuf *out, const json_t *account, int64_t now_us)
{
    int64_t limit = limit_of(account);
    int64_t used = page_count_of(account, "imports_in_minute");
    const char *blocked = page_text_of(account, "blocked_until");
    char label[96];

    (void)snprintf(label, sizeof label, "%" PRId64 " of %" PRId64 " imports of the last minute",
                   used, limit);
    strbuf_add_str(out, "<div class=\"card\"><h3>Account ");
    html_add_text(out, page_text_of(account, "name"));
    strbuf_addf(out, "</h3><b class=\"large\">%" PRId64 " of %" PRId64 "</b>", used, limit);
    chart_add_gauge(out, used, limit, label);
    strbuf_add_str(out, "<span class=\"detail\">imports in the last minute</span>");
    if (*blocked) {
        strbuf_add_str(out, "<span class=\"detail wait\">Klaviyo asked to wait: ");
        html_add_time(out, blocked, now_us);
        strbuf_add_str(out, "</span>");
    }
    add_account_plan(out, json_object_get(account, "plan"), now_us);
    strbuf_add_str(out, "</div>\n");
}

static void add_load(struct strbuf *out, const json_t *report, int64_t now_us)
{
    const json_t *accounts = json_object_get(report, "accounts");

    strbuf_add_str(out, "<section aria-labelledby=\"load\"><h2 id=\"load\">Load</h2>"
                        "<div class=\"cards\">\n");
    add_minutes(out, report);
    for (size_t i = 0; i < json_array_size(accounts); i++)
        add_account(out, json_array_get(accounts, i), now_us);
    strbuf_add_str(out, "</div></section>\n");
}

/* ---- dead letters ---- */

static void add_letter(struct strbuf *out, const json_t *letter, int64_t now_us)
{
    const json_t *exports = json_object_get(letter, "exports");
    const char *segment = page_text_of(letter, "segment");

    strbuf_add_str(out, "<tr><td class=\"wide\" data-name=\"Segment\">");
    html_add_text(out, *segment ? segment : "–");
    strbuf_add_str(out, "</td><td data-name=\"Reason\">");
    html_add_text(out, page_text_of(letter, "reason"));
    strbuf_add_str(out, "</td><td data-name=\"Exports\"><span>");
    for (size_t i = 0; i < json_array_size(exports); i++) {
        const char *name = json_string_value(json_array_get(exports, i));

        strbuf_add_str(out, i > 0 ? ", " : "");
        page_add_export_link(out, name ? name : "");
    }
    strbuf_add_str(out, "</span></td><td data-name=\"Solved\">");
    strbuf_add_str(out, json_is_true(json_object_get(letter, "solved"))
                            ? "<span class=\"state good\">solved since</span>"
                            : "<span class=\"state bad\">open</span>");
    strbuf_add_str(out, "</td>");
    page_add_time_cell(out, "Died", page_text_of(letter, "at"), now_us);
    strbuf_add_str(out, "</tr>\n");
}

static void add_letters(struct strbuf *out, const json_t *report, int64_t now_us)
{
    const json_t *letters = json_object_get(report, "dead_letters");

    if (json_array_size(letters) == 0)
        return;
    strbuf_add_str(out, "<section aria-labelledby=\"letters\"><h2 id=\"letters\">Dead letters, "
                        "newest first</h2>\n<table><thead><tr><th>Segment</th><th>Reason</th>"
                        "<th>Exports</th><th>Solved</th><th class=\"n\">Died</th></tr></thead>"
                        "<tbody>\n");
    for (size_t i = 0; i < json_array_size(letters); i++)
        add_letter(out, json_array_get(letters, i), now_us);
    strbuf_add_str(out, "</tbody></table>\n<p class=\"soft\"><code>klaviyo-worker dead-letters "
                        "replay</code> publishes what is open again.</p></section>\n");
}

/* ---- the partitions ---- */

static void add_known_cell(struct strbuf *out, const char *name, int64_t number)
{
    if (number >= 0)
        page_add_number_cell(out, name, number);
    else
        strbuf_addf(out, "<td class=\"n\" data-name=\"%s\">–</td>", name);
}

static void add_partition(struct strbuf *out, const struct service_partition *partition)
{
    strbuf_add_str(out, "<tr>");
    add_known_cell(out, "Partition", partition->partition);
    add_known_cell(out, "Lag", metrics_report_lag(partition));
    add_known_cell(out, "Open", partition->open);
    add_known_cell(out, "Watermark", partition->watermark);
    add_known_cell(out, "Committed", partition->committed);
    add_known_cell(out, "End", partition->end);
    strbuf_add_str(out, "</tr>\n");
}

static void add_partitions(struct strbuf *out, const struct page_facts *facts)
{
    if (facts->n_partitions == 0) {
        strbuf_add_str(out, "<p class=\"soft\">This worker has no partition now.</p>\n");
        return;
    }
    strbuf_addf(out,
                "<details id=\"partitions\"><summary>%zu partition%s of this worker</summary>"
                "<table><thead><tr><th class=\"n\">Partition</th><th class=\"n\">Lag</th>"
                "<th class=\"n\">Open</th><th class=\"n\">Watermark</th>"
                "<th class=\"n\">Committed</th><th class=\"n\">End</th></tr></thead><tbody>\n",
                facts->n_partitions, facts->n_partitions == 1 ? "" : "s");
    for (size_t i = 0; i < facts->n_partitions; i++)
        add_partition(out, &facts->partitions[i]);
    strbuf_add_str(out, "</tbody></table></details>\n");
}

static void add_worker(struct strbuf *out, const struct page_facts *facts)
{
    strbuf_add_str(out, "<section aria-labelledby=\"worker\"><h2 id=\"worker\">This worker</h2>\n");
    add_figures(out, facts);
    add_partitions(out, facts);
    strbuf_add_str(out, "</section>\n");
}

static void add_what_there_is(struct strbuf *out, const struct page_facts *facts,
                              const struct page_lists *lists)
{
    int64_t now_us = facts->now_us;

    add_open_runs(out, facts, lists);
    add_exports(out, lists, now_us);
    add_load(out, lists->report, now_us);
    add_runs(out, lists->runs, now_us);
    add_letters(out, lists->report, now_us);
}

bool page_write(const struct page_facts *facts, struct strbuf *out, struct error *err)
{
    CLEANUP(page_lists_release) struct page_lists lists = { .runs = NULL };

    if (!page_lists_parse(&lists, &facts->database->lists, err))
        return false;
    page_begin(out, facts, "Status");
    page_add_notices(out, facts, lists.report);
    if (is_known(facts))
        add_what_there_is(out, facts, &lists);
    add_worker(out, facts);
    page_end(out);
    return strbuf_ok(out) || error_no_memory(err);
}
