#include "worker/http/page.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "common/clock.h"
#include "page_text.h"
#include "worker/http/metrics_report.h"
#include "worker/store/run_state.h"

enum { REFRESH_SECONDS = 5, STALE_MS = 10 * 1000 };

const char *page_style(void)
{
    return page_text_page;
}

static void add_text(struct strbuf *out, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<':
            strbuf_add_str(out, "&lt;");
            break;
        case '>':
            strbuf_add_str(out, "&gt;");
            break;
        case '&':
            strbuf_add_str(out, "&amp;");
            break;
        case '"':
            strbuf_add_str(out, "&quot;");
            break;
        default:
            strbuf_add(out, text, 1);
        }
}

/* 1234567 as "1 234 567", with narrow no-break spaces. */
static void add_count(struct strbuf *out, int64_t number)
{
    if (number >= 1000) {
        add_count(out, number / 1000);
        strbuf_addf(out, "\u202f%03d", (int)(number % 1000));
    } else {
        strbuf_addf(out, "%" PRId64, number);
    }
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static int64_t count_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* ---- the head ---- */

static void add_head(struct strbuf *out, const struct page_facts *facts)
{
    strbuf_addf(out,
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                "<meta http-equiv=\"refresh\" content=\"%d\">"
                "<title>klaviyo-worker: %s</title><style>",
                REFRESH_SECONDS, facts->ready ? "ready" : "not ready");
    strbuf_add_str(out, page_style());
    strbuf_add_str(out, "</style></head>\n<body><main>\n");
}

static void add_worker(struct strbuf *out, const struct page_facts *facts)
{
    char now[CLOCK_TEXT_BYTES];

    clock_format_us(facts->now_us, now);
    strbuf_addf(out,
                "<h1>klaviyo-worker <span class=\"%s\">%s</span></h1>\n<p class=\"soft\">Worker ",
                facts->ready ? "good" : "bad", facts->state);
    add_text(out, facts->worker);
    strbuf_addf(out, ", version %s, as of <time>%.10s %.8s</time> UTC</p>\n", facts->version, now,
                now + sizeof "2026-11-24T" - 1);
}

static void add_notice(struct strbuf *out, const struct page_facts *facts)
{
    const struct snapshot_view *view = facts->database;
    int64_t age_ms = facts->now_ms - view->read_ms;

    if (view->read_ms == 0)
        strbuf_add_str(out, "<p class=\"notice\" role=\"status\">The database has not answered "
                            "yet: what runs there are is not known.</p>\n");
    else if (age_ms > STALE_MS)
        strbuf_addf(out,
                    "<p class=\"notice\" role=\"status\">The database does not answer: the runs "
                    "are shown as they were %" PRId64 " seconds ago.</p>\n",
                    age_ms / 1000);
    if (view->overview.attention > 0)
        strbuf_addf(out,
                    "<p class=\"notice\" role=\"status\">%" PRId64 " connection%s attention: "
                    "<code>klaviyo-worker connection list</code> shows which.</p>\n",
                    view->overview.attention, view->overview.attention == 1 ? " needs" : "s need");
}

static void add_figure(struct strbuf *out, const char *name, int64_t number)
{
    strbuf_add_str(out, "<li><b>");
    add_count(out, number);
    strbuf_addf(out, "</b>%s</li>", name);
}

static void add_slots(struct strbuf *out, const struct page_facts *facts)
{
    strbuf_addf(out, "<li><b>%" PRId64 " of %" PRId64 "</b>run slots busy here</li>",
                facts->busy_slots, facts->all_slots);
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

static void add_metrics(struct strbuf *out, const struct page_facts *facts)
{
    const struct overview *overview = &facts->database->overview;

    strbuf_add_str(out, "<ul class=\"figures\">");
    add_figure(out, "runs going on", overview->running);
    add_figure(out, "of them waiting", overview->waiting);
    add_figure(out, "runs queued", overview->queued);
    add_figure(out, "events open here", facts->open_events);
    add_figure(out, "events of lag here", sum_of_lags(facts));
    add_slots(out, facts);
    strbuf_add_str(out, "</ul>\n");
}

/* ---- the runs ---- */

static const char *class_of_state(const char *state)
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

/* "succeeded_with_rejections" as words. */
static void add_words(struct strbuf *out, const char *code)
{
    for (; *code; code++)
        strbuf_add(out, *code == '_' ? " " : code, 1);
}

static void add_state(struct strbuf *out, const json_t *run)
{
    const char *state = text_of(run, "state");
    const char *until = text_of(run, "waiting_until");

    strbuf_addf(out, "<td data-name=\"State\"><span class=\"state %s\">", class_of_state(state));
    add_words(out, state);
    strbuf_add_str(out, "</span>");
    if (strlen(until) > 19)
        strbuf_addf(out, "<span class=\"detail\">until %.8s UTC</span>", until + 11);
    strbuf_add_str(out, "</td>");
}

static bool is_open(const json_t *run)
{
    enum run_state state = RUN_FAILED;

    (void)run_state_of(text_of(run, "state"), &state);
    return state == RUN_RUNNING || state == RUN_WAITING;
}

/* How much of what was selected so far has come to its end. */
static void add_progress(struct strbuf *out, const json_t *run, const json_t *counts)
{
    int64_t selected = count_of(counts, "selected");
    int64_t done = count_of(counts, "accepted") + count_of(counts, "rejected");

    add_count(out, done);
    strbuf_add_str(out, " of ");
    add_count(out, selected);
    if (is_open(run) && selected > 0)
        strbuf_addf(out,
                    "<progress max=\"%" PRId64 "\" value=\"%" PRId64 "\" aria-label=\"progress\">"
                    "</progress>",
                    selected, done < selected ? done : selected);
}

static void add_number_cell(struct strbuf *out, const char *name, int64_t number)
{
    strbuf_addf(out, "<td class=\"n\" data-name=\"%s\">", name);
    add_count(out, number);
    strbuf_add_str(out, "</td>");
}

/* "2026-11-24T08:00:47.123456Z": day and time of day; "–" where there is none. */
static void add_time_cell(struct strbuf *out, const char *name, const char *time)
{
    strbuf_addf(out, "<td class=\"n\" data-name=\"%s\">", name);
    if (strlen(time) > 19)
        strbuf_addf(out, "%.10s %.8s", time, time + 11);
    else
        strbuf_add_str(out, "–");
    strbuf_add_str(out, "</td>");
}

static void add_why(struct strbuf *out, const json_t *run)
{
    const char *reason = text_of(run, "reason");

    if (!*reason)
        return;
    strbuf_add_str(out, "<span class=\"detail\"><b>");
    add_text(out, reason);
    strbuf_add_str(out, "</b> ");
    add_text(out, text_of(run, "detail"));
    strbuf_add_str(out, "</span>");
}

static void add_run(struct strbuf *out, const json_t *run)
{
    const json_t *counts = json_object_get(run, "counts");

    strbuf_addf(out, "<tr><td class=\"n\" data-name=\"Run\">%" PRId64 "</td>", count_of(run, "id"));
    strbuf_add_str(out, "<td class=\"wide\" data-name=\"Export\"><b>");
    add_text(out, text_of(run, "export"));
    strbuf_add_str(out, "</b>");
    add_why(out, run);
    strbuf_add_str(out, "</td>");
    add_state(out, run);
    strbuf_add_str(out, "<td class=\"n\" data-name=\"Confirmed\"><span>");
    add_progress(out, run, counts);
    strbuf_add_str(out, "</span></td>");
    add_number_cell(out, "Read", count_of(counts, "read"));
    add_number_cell(out, "Invalid", count_of(counts, "invalid"));
    add_number_cell(out, "Rejected", count_of(counts, "rejected"));
    add_time_cell(out, "Started", text_of(run, "started_at"));
    add_time_cell(out, "Ended", text_of(run, "finished_at"));
    strbuf_add_str(out, "</tr>\n");
}

static void add_runs(struct strbuf *out, const json_t *runs)
{
    strbuf_add_str(out, "<h2>Runs of all workers, newest first</h2>\n");
    if (json_array_size(runs) == 0) {
        strbuf_add_str(out, "<p class=\"soft\">There is no run.</p>\n");
        return;
    }
    strbuf_add_str(out, "<table><thead><tr><th class=\"n\">Run</th><th>Export</th><th>State</th>"
                        "<th class=\"n\">Confirmed</th><th class=\"n\">Read</th>"
                        "<th class=\"n\">Invalid</th><th class=\"n\">Rejected</th>"
                        "<th class=\"n\">Started (UTC)</th>"
                        "<th class=\"n\">Ended (UTC)</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < json_array_size(runs); i++)
        add_run(out, json_array_get(runs, i));
    strbuf_add_str(out, "</tbody></table>\n");
}

/* ---- the partitions ---- */

static void add_known_cell(struct strbuf *out, const char *name, int64_t number)
{
    if (number >= 0)
        add_number_cell(out, name, number);
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
    strbuf_add_str(out, "<h2>Partitions of this worker</h2>\n");
    if (facts->n_partitions == 0) {
        strbuf_add_str(out, "<p class=\"soft\">It has none now.</p>\n");
        return;
    }
    strbuf_add_str(out, "<table><thead><tr><th class=\"n\">Partition</th><th class=\"n\">Lag</th>"
                        "<th class=\"n\">Open</th><th class=\"n\">Watermark</th>"
                        "<th class=\"n\">Committed</th><th class=\"n\">End</th></tr></thead>"
                        "<tbody>\n");
    for (size_t i = 0; i < facts->n_partitions; i++)
        add_partition(out, &facts->partitions[i]);
    strbuf_add_str(out, "</tbody></table>\n");
}

bool page_write(const struct page_facts *facts, struct strbuf *out, struct error *err)
{
    const char *text = facts->database->lists.runs ? facts->database->lists.runs : "[]";
    json_t *runs = json_loads(text, 0, NULL);

    if (!runs)
        return error_set(err, ERROR_RETRY, "the list of runs could not be understood");
    add_head(out, facts);
    add_worker(out, facts);
    add_notice(out, facts);
    add_metrics(out, facts);
    add_runs(out, runs);
    add_partitions(out, facts);
    strbuf_add_str(out, "<p class=\"soft\"><a href=\"/metrics\">metrics</a> · "
                        "<a href=\"/api/runs\">runs as JSON</a></p>\n</main></body></html>\n");
    json_decref(runs);
    return strbuf_ok(out) || error_no_memory(err);
}
