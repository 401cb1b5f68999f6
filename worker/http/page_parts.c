#include "worker/http/page_parts.h"

#include <inttypes.h>
#include <string.h>

#include "common/age.h"
#include "common/clock.h"
#include "page_text.h"
#include "worker/export/time_left.h"
#include "worker/http/chart.h"
#include "worker/http/html.h"
#include "worker/store/run_state.h"

/* For browsers without scripts; with them the page renews itself in place. */
enum { REFRESH_SECONDS = 5 };

enum { WHAT_MAX_BYTES = 200 };

const char *page_text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

int64_t page_count_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* ---- the frame ---- */

static void add_head(struct strbuf *out, const struct page_facts *facts, const char *title)
{
    strbuf_addf(out,
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                "<noscript><meta http-equiv=\"refresh\" content=\"%d\"></noscript>"
                "<link rel=\"icon\" href=\"data:,\">"
                "<title>%s – klaviyo-worker: %s</title><style>",
                REFRESH_SECONDS, title, facts->ready ? "ready" : "not ready");
    strbuf_add_str(out, page_text_page_style);
    strbuf_add_str(out, "</style></head>\n<body><main id=\"page\">\n");
}

void page_begin(struct strbuf *out, const struct page_facts *facts, const char *title)
{
    char now[CLOCK_TEXT_BYTES];

    clock_format_us(facts->now_us, now);
    add_head(out, facts, title);
    strbuf_addf(out,
                "<header><h1><a href=\"/\">klaviyo-worker</a> <span class=\"badge %s\">%s</span>"
                "</h1>\n<p class=\"soft\">Worker ",
                facts->ready ? "good" : "bad", facts->state);
    html_add_text(out, facts->worker);
    strbuf_addf(
        out, ", version %s, as of <time datetime=\"%.19sZ\">%.10s %.8s</time> UTC</p></header>\n",
        facts->version, now, now, now + sizeof "2026-11-24T" - 1);
}

void page_end(struct strbuf *out)
{
    strbuf_add_str(out, "<footer class=\"soft\"><a href=\"/metrics\">metrics</a> · "
                        "<a href=\"/api/exports\">exports</a> and "
                        "<a href=\"/api/runs\">runs</a> as JSON</footer>\n</main><script>");
    strbuf_add_str(out, page_text_page_script);
    strbuf_add_str(out, "</script></body></html>\n");
}

/* ---- words ---- */

const char *page_class_of_state(const char *state)
{
    static const char *const classes[RUN_STATES] = {
        [RUN_QUEUED] = "soft",    [RUN_RUNNING] = "busy",
        [RUN_WAITING] = "wait",   [RUN_SUCCEEDED] = "good",
        [RUN_CANCELLED] = "soft", [RUN_SUCCEEDED_WITH_REJECTIONS] = "wait",
        [RUN_FAILED] = "bad",
    };
    enum run_state known = RUN_FAILED;

    (void)run_state_of(state, &known);
    return classes[known];
}

void page_add_state(struct strbuf *out, const char *state)
{
    strbuf_addf(out, "<span class=\"state %s\">", page_class_of_state(state));
    html_add_words(out, state);
    strbuf_add_str(out, "</span>");
}

void page_add_reason(struct strbuf *out, const json_t *object)
{
    const char *reason = page_text_of(object, "reason");

    if (!*reason)
        return;
    strbuf_add_str(out, "<span class=\"detail\"><b>");
    html_add_text(out, reason);
    strbuf_add_str(out, "</b> ");
    html_add_text(out, page_text_of(object, "detail"));
    strbuf_add_str(out, "</span>");
}

void page_add_export_link(struct strbuf *out, const char *name)
{
    strbuf_add_str(out, "<a href=\"/export?name=");
    html_add_argument(out, name);
    strbuf_add_str(out, "\">");
    html_add_text(out, name);
    strbuf_add_str(out, "</a>");
}

void page_add_run_link(struct strbuf *out, int64_t run_id)
{
    strbuf_addf(out, "<a href=\"/run?id=%" PRId64 "\">%" PRId64 "</a>", run_id, run_id);
}

void page_add_number_cell(struct strbuf *out, const char *name, int64_t number)
{
    strbuf_addf(out, "<td class=\"n\" data-name=\"%s\">", name);
    html_add_count(out, number);
    strbuf_add_str(out, "</td>");
}

void page_add_time_cell(struct strbuf *out, const char *name, const char *time, int64_t now_us)
{
    strbuf_addf(out, "<td class=\"n\" data-name=\"%s\">", name);
    html_add_time(out, time, now_us);
    strbuf_add_str(out, "</td>");
}

/* ---- runs ---- */

bool page_run_is_open(const json_t *run)
{
    enum run_state state = RUN_FAILED;

    (void)run_state_of(page_text_of(run, "state"), &state);
    return state == RUN_RUNNING || state == RUN_WAITING;
}

void page_add_progress(struct strbuf *out, const json_t *run, const char *what)
{
    const json_t *counts = json_object_get(run, "counts");
    int64_t selected = page_count_of(counts, "selected");
    int64_t done = page_count_of(counts, "accepted") + page_count_of(counts, "rejected");

    html_add_count(out, done);
    strbuf_add_str(out, " of ");
    html_add_count(out, selected);
    strbuf_add_str(out, what);
    if (page_run_is_open(run) && selected > 0)
        strbuf_addf(out,
                    "<progress max=\"%" PRId64 "\" value=\"%" PRId64 "\" aria-label=\"progress\">"
                    "</progress>",
                    selected, done < selected ? done : selected);
}

static void add_wait(struct strbuf *out, const json_t *run, int64_t now_us)
{
    const char *until = page_text_of(run, "waiting_until");

    if (!*until)
        return;
    strbuf_addf(out, "<span class=\"detail\">until %.8s UTC, ",
                strlen(until) > 19 ? until + 11 : "");
    html_add_time(out, until, now_us);
    strbuf_add_str(out, "</span>");
}

const json_t *page_of_run(const json_t *report, const char *name, const json_t *run)
{
    char key[24];

    (void)snprintf(key, sizeof key, "%" PRId64, page_count_of(run, "id"));
    return json_object_get(json_object_get(report, name), key);
}

/* ", about 3 min left", where that can be known. */
static void add_time_left(struct strbuf *out, const json_t *run, const json_t *outlook,
                          int64_t now_us)
{
    struct time_left_facts facts;

    if (!time_left_read(run, outlook, now_us, &facts) || time_left_ms(&facts) == 0)
        return;
    strbuf_add_str(out, ", about ");
    age_add_span(out, (time_left_ms(&facts) + 999) / 1000);
    strbuf_add_str(out, " left");
}

void page_add_open_run(struct strbuf *out, const json_t *run, const json_t *report, int64_t now_us)
{
    CLEANUP(strbuf_release) struct strbuf what = STRBUF_INIT(WHAT_MAX_BYTES);
    const json_t *counts = json_object_get(run, "counts");

    strbuf_add_str(out, "<li class=\"card\"><b>");
    page_add_export_link(out, page_text_of(run, "export"));
    strbuf_add_str(out, "</b> ");
    page_add_state(out, page_text_of(run, "state"));
    strbuf_add_str(out, "<span class=\"detail\">run ");
    page_add_run_link(out, page_count_of(run, "id"));
    strbuf_add_str(out, ", begun ");
    html_add_time(out, page_text_of(run, "started_at"), now_us);
    strbuf_add_str(out, "; ");
    html_add_count(out, page_count_of(counts, "read"));
    strbuf_add_str(out, " members read, ");
    html_add_count(out, page_count_of(counts, "invalid"));
    strbuf_add_str(out, " invalid</span><div>");
    strbuf_add_str(&what, " confirmed");
    add_time_left(&what, run, page_of_run(report, "outlooks", run), now_us);
    page_add_progress(out, run, what.data ? what.data : "");
    strbuf_add_str(out, "</div>");
    add_wait(out, run, now_us);
    page_add_reason(out, run);
    strbuf_add_str(out, "</li>\n");
}

static void add_run_row(struct strbuf *out, const json_t *run, bool with_export, int64_t now_us)
{
    const json_t *counts = json_object_get(run, "counts");

    strbuf_add_str(out, "<tr><td class=\"n\" data-name=\"Run\">");
    page_add_run_link(out, page_count_of(run, "id"));
    strbuf_add_str(out, "</td>");
    if (with_export) {
        strbuf_add_str(out, "<td class=\"wide name\" data-name=\"Export\"><b>");
        page_add_export_link(out, page_text_of(run, "export"));
        strbuf_add_str(out, "</b></td>");
    }
    strbuf_add_str(out, "<td data-name=\"State\"><span>");
    page_add_state(out, page_text_of(run, "state"));
    page_add_reason(out, run);
    strbuf_add_str(out, "</span></td><td class=\"n\" data-name=\"Confirmed\"><span>");
    page_add_progress(out, run, "");
    strbuf_add_str(out, "</span></td>");
    page_add_number_cell(out, "Read", page_count_of(counts, "read"));
    page_add_number_cell(out, "Invalid", page_count_of(counts, "invalid"));
    page_add_number_cell(out, "Rejected", page_count_of(counts, "rejected"));
    page_add_time_cell(out, "Started", page_text_of(run, "started_at"), now_us);
    page_add_time_cell(out, "Ended", page_text_of(run, "finished_at"), now_us);
    strbuf_add_str(out, "</tr>\n");
}

void page_add_run_table(struct strbuf *out, const json_t *runs, const char *export_name,
                        size_t rows, int64_t now_us)
{
    size_t shown = 0;

    strbuf_addf(out,
                "<table><thead><tr><th class=\"n\">Run</th>%s<th>State</th>"
                "<th class=\"n\">Confirmed</th><th class=\"n\">Read</th>"
                "<th class=\"n\">Invalid</th><th class=\"n\">Rejected</th>"
                "<th class=\"n\">Started</th><th class=\"n\">Ended</th></tr></thead><tbody>\n",
                export_name ? "" : "<th>Export</th>");
    for (size_t i = 0; i < json_array_size(runs) && shown < rows; i++) {
        const json_t *run = json_array_get(runs, i);

        if (export_name && strcmp(page_text_of(run, "export"), export_name) != 0)
            continue;
        add_run_row(out, run, !export_name, now_us);
        shown++;
    }
    strbuf_add_str(out, "</tbody></table>\n");
}

/* ---- the trend ---- */

static const char *text_at(const json_t *entry, size_t i)
{
    const char *text = json_string_value(json_array_get(entry, i));

    return text ? text : "";
}

static size_t count_failed(const json_t *trend)
{
    size_t failed = 0;

    for (size_t i = 0; i < json_array_size(trend); i++)
        failed += strcmp(text_at(json_array_get(trend, i), 1), run_state_name(RUN_FAILED)) == 0;
    return failed;
}

void page_add_trend(struct strbuf *out, const json_t *trend)
{
    struct chart_bar bars[CHART_BARS_MAX];
    char label[96];
    size_t n = 0;

    for (; n < json_array_size(trend) && n < CHART_BARS_MAX; n++) {
        const json_t *entry = json_array_get(trend, n);

        bars[n] = (struct chart_bar){ json_integer_value(json_array_get(entry, 2)),
                                      page_class_of_state(text_at(entry, 1)) };
    }
    if (n == 0)
        return;
    (void)snprintf(label, sizeof label, "the last %zu runs, %zu of them failed", n,
                   count_failed(trend));
    chart_add_bars(out, bars, n, label);
}
