#include "worker/http/page_notices.h"

#include <inttypes.h>

#include "common/age.h"
#include "worker/http/html.h"
#include "worker/http/page_parts.h"

enum {
    LATE_S = 5,               /* outcomes that waited this long are in the log, too */
    BLOCKED_SHOWN_MS = 10000, /* what a lock holds up is tried again within half of it */
};

void page_add_database_notice(struct strbuf *out, const struct page_facts *facts)
{
    const struct snapshot_view *view = facts->database;
    int64_t age_ms = facts->now_ms - view->read_ms;

    if (snapshot_view_is_current(view, facts->now_ms))
        return;
    strbuf_add_str(out, "<p class=\"notice\" role=\"status\">");
    if (view->too_slow)
        strbuf_addf(out, "The overview query takes longer than %d s: ", OVERVIEW_TIMEOUT_MS / 1000);
    else
        strbuf_add_str(out, view->read_ms == 0 ? "The database has not answered yet: "
                                               : "The database does not answer: ");
    if (view->read_ms == 0)
        strbuf_add_str(out, "what runs there are is not known.</p>\n");
    else
        strbuf_addf(out, "the runs are shown as they were %" PRId64 " seconds ago.</p>\n",
                    age_ms / 1000);
}

static void add_outcomes_notice(struct strbuf *out, const struct page_facts *facts)
{
    int64_t waiting_s = facts->database->overview.oldest_outcome_s;

    if (waiting_s < LATE_S)
        return;
    strbuf_add_str(out,
                   "<p class=\"notice\" role=\"status\">Outcome events wait for their broker, the "
                   "oldest for ");
    age_add_span(out, waiting_s);
    strbuf_add_str(out, ": publishers do not hear yet how their refreshes ended. Where the broker "
                        "is silent the log says so (<code>outcomes_waiting</code>).</p>\n");
}

static void add_letters_notice(struct strbuf *out, const struct page_facts *facts)
{
    if (facts->letters_waiting > 0)
        strbuf_addf(out,
                    "<p class=\"notice\" role=\"status\">Dead letters that wait here for their "
                    "broker: %" PRId64 ". Their offsets wait with them, other events do not. The "
                    "log says why (<code>dead_letters_waiting</code>).</p>\n",
                    facts->letters_waiting);
}

static void add_blocked_notice(struct strbuf *out, const struct page_facts *facts,
                               int64_t blocked_ms, const char *what, const char *log_event)
{
    if (blocked_ms > 0 && facts->now_ms - blocked_ms < BLOCKED_SHOWN_MS)
        strbuf_addf(
            out,
            "<p class=\"notice\" role=\"status\">Another session's lock in the database holds up "
            "%s. The log names the session (<code>%s</code>).</p>\n",
            what, log_event);
}

static void add_key_notice(struct strbuf *out, const struct page_facts *facts)
{
    int64_t runs = facts->database->overview.waiting_for_key;

    if (runs > 0)
        strbuf_addf(
            out,
            "<p class=\"notice\" role=\"status\">Runs that wait, as their API key is sealed for "
            "another key file than a worker's: %" PRId64 ". Put the newest file where "
            "<code>SECRET_KEY_FILE</code> points to, and restart the workers; where a "
            "run's detail says so, <code>klaviyo-worker connection rotate-key</code> "
            "instead.</p>\n",
            runs);
}

static void add_connection(struct strbuf *out, const json_t *connection, int64_t now_us)
{
    strbuf_add_str(out, "<li><b>");
    html_add_text(out, page_text_of(connection, "name"));
    strbuf_add_str(out, "</b>: ");
    html_add_text(out, page_text_of(connection, "reason"));
    strbuf_add_str(out, ", since ");
    html_add_time(out, page_text_of(connection, "since"), now_us);
    strbuf_add_str(out, "</li>");
}

/* The report names the newest ones only. */
static void add_attention(struct strbuf *out, const struct page_facts *facts, const json_t *report)
{
    const json_t *connections = json_object_get(report, "attention");
    int64_t n = facts->database->overview.attention;
    int64_t named = (int64_t)json_array_size(connections);

    if (n == 0)
        return;
    strbuf_addf(
        out,
        "<div class=\"notice\" role=\"status\"><p>%" PRId64 " connection%s runs "
        "end at once. Store a new key (<code>klaviyo-worker connection rotate-key</code>) or, "
        "where Klaviyo has refused the old one, fix it and run "
        "<code>klaviyo-worker connection verify</code>.</p><ul>",
        n, n == 1 ? " needs attention: its" : "s need attention: their");
    for (int64_t i = 0; i < named; i++)
        add_connection(out, json_array_get(connections, (size_t)i), facts->now_us);
    strbuf_add_str(out, "</ul>");
    if (n > named)
        strbuf_addf(out,
                    "<p>And %" PRId64 " more: <code>klaviyo-worker connection list</code> shows "
                    "them.</p>",
                    n - named);
    strbuf_add_str(out, "</div>\n");
}

void page_add_notices(struct strbuf *out, const struct page_facts *facts, const json_t *report)
{
    page_add_database_notice(out, facts);
    add_letters_notice(out, facts);
    add_outcomes_notice(out, facts);
    add_blocked_notice(out, facts, facts->event_blocked_ms, "events", "events_blocked");
    add_blocked_notice(out, facts, facts->run_blocked_ms, "runs", "runs_blocked");
    add_key_notice(out, facts);
    add_attention(out, facts, report);
}
