#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "worker/http/page.h"
#include "worker/http/page_policy.h"

static char run_going_on[] =
    "[{\"id\": 7, \"export\": \"a<b>&\\\"c\", \"state\": \"waiting\", \"reason\": null,"
    " \"detail\": null, \"waiting_until\": \"2026-11-24T08:01:00.000000Z\","
    " \"started_at\": \"2026-11-24T08:00:47.123456Z\", \"finished_at\": null,"
    " \"counts\": {\"read\": 1234567, \"selected\": 2000, \"accepted\": 500, \"rejected\": 3}}]";

static char run_failed[] =
    "[{\"id\": 8, \"export\": \"x\", \"state\": \"failed\", \"reason\": \"list_gone\","
    " \"detail\": \"no list <L>\", \"started_at\": null, \"counts\": {}}]";

static char attention[] = "{\"attention\": [{\"name\": \"m<n\", \"reason\": \"key_refused\","
                          " \"since\": \"2026-11-24T08:00:47.123456Z\"}]}";

static char two_in_need[] = "{\"attention\": [{\"name\": \"m\"}, {\"name\": \"n\"}]}";

static char exports[] =
    "[{\"name\": \"news\", \"connection\": \"main\", \"list\": \"L1\", \"list_name\": \"<List>\","
    " \"segments\": [\"one\", \"t<o\"], \"email_field\": \"email\", \"max_profiles\": 1000,"
    " \"on_leave\": \"remove\", \"state\": \"active\", \"stale\": false, \"members\": 4321,"
    " \"last_success\": \"2026-11-24T08:00:47.123456Z\"},"
    " {\"name\": \"quiet\", \"connection\": \"main\", \"list\": \"L2\", \"state\": \"paused\","
    " \"pause_reason\": \"nobody wants it\", \"stale\": true, \"members\": null}]";

static char two_runs[] =
    "[{\"id\": 12, \"export\": \"news\", \"state\": \"running\", \"full\": true,"
    " \"connection\": \"main\", \"trigger\": \"event\", \"worker\": \"w:1\", \"events\": 2,"
    " \"queued_at\": \"2026-11-24T08:00:46.000000Z\", \"started_at\": \"2026-11-24T08:00:47.000000Z\", \"counts\": {\"read\": 100, \"invalid\": 10,"
    " \"duplicate\": 20, \"unchanged\": 30, \"selected\": 40, \"accepted\": 5, \"rejected\": 1,"
    " \"requests\": 9, \"left\": 7, \"removed\": 6, \"kept\": 1}},"
    " {\"id\": 11, \"export\": \"quiet\", \"state\": \"succeeded\", \"counts\": {}},"
    " {\"id\": 10, \"export\": \"news\", \"state\": \"failed\", \"reason\": \"list_gone\","
    " \"detail\": \"no\", \"counts\": {\"rejected\": 3}}]";

static char trends_and_batches[] =
    "{\"trends\": {\"news\": [[9, \"succeeded\", 50, 3], [10, \"failed\", 0, 1]]},"
    " \"batches\": {\"12\": {\"planned\": 1, \"sent\": 2, \"complete\": 3, \"unresolved\": 0}},"
    " \"timelines\": {\"12\": [[0.5, 1.5, 10, \"complete\"], [1, 2, 5, \"unresolved\"], [2, null, 5, \"sent\"]]},"
    " \"minutes\": [1,2,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,"
    "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,40],"
    " \"accounts\": [{\"id\": \"A1\", \"name\": \"Shop\", \"share\": 50, \"imports_in_minute\": 30,"
    " \"blocked_until\": \"2026-11-24T08:01:00.000000Z\"}],"
    " \"dead_letters\": [{\"segment\": \"s<1\", \"reason\": \"list_gone\","
    " \"exports\": [\"news\", \"quiet\"], \"at\": \"2026-11-24T08:00:47.123456Z\", \"solved\": true},"
    " {\"segment\": null, \"reason\": \"event_invalid\", \"exports\": [], \"solved\": false}]}";

static struct page_facts facts_of(struct snapshot_view *view)
{
    return (struct page_facts){ .worker = "host:1",
                                .version = "0.1.0",
                                .state = "ready",
                                .ready = true,
                                .all_slots = 4,
                                .now_ms = 20000,
                                .database = view };
}

static void assert_shows(const struct page_facts *facts, const char *words, bool shown)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100000);
    struct error err = ERROR_INIT;

    assert_true(page_write(facts, &out, &err));
    if ((strstr(out.data, words) != NULL) != shown)
        fail_msg("%s: %s\n%s", shown ? "not there" : "there", words, out.data);
}

static void a_run_is_shown_with_state_and_progress(void **state)
{
    struct snapshot_view view = { .read_ms = 19000, .lists.runs = run_going_on };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "<span class=\"state wait\">waiting</span>", true);
    assert_shows(&facts, "until 08:01:00 UTC", true);
    assert_shows(&facts, "<progress max=\"2000\" value=\"503\"", true);
    assert_shows(&facts, "1\u202f234\u202f567", true);
    assert_shows(&facts, "2026-11-24 08:00:47 UTC", true);
    assert_shows(&facts, "class=\"notice\"", false);
}

static void those_in_progress_that_are_not_shown_are_counted(void **state)
{
    struct snapshot_view view = { .read_ms = 19000,
                                  .lists.runs = run_going_on,
                                  .overview.running = 1 };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "Going on", true);
    assert_shows(&facts, "runs list --state waiting", false);
    view.overview.running = 5;
    assert_shows(&facts, "And 4 more: <code>klaviyo-worker runs list --state waiting</code>", true);
}

static void names_are_escaped(void **state)
{
    struct snapshot_view view = { .read_ms = 19000, .lists.runs = run_going_on };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "a&lt;b&gt;&amp;&quot;c", true);
    assert_shows(&facts, "a<b>", false);
    view.lists.runs = run_failed;
    assert_shows(&facts, "<b>list_gone</b> no list &lt;L&gt;", true);
}

static void the_page_says_when_the_database_is_away_or_a_connection_needs_attention(void **state)
{
    struct snapshot_view view = { 0 };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "The database has not answered", true);
    assert_shows(&facts, "There is no", false);
    assert_shows(&facts, "runs queued", false);
    assert_shows(&facts, "slots busy here", true);
    view.read_ms = 5000;
    assert_shows(&facts, "as they were 15 seconds ago", true);
    view.read_ms = 19000;
    assert_shows(&facts, "class=\"notice\"", false);
    view.lists.report = attention;
    view.overview.attention = 1;
    assert_shows(&facts, "1 connection needs attention", true);
    assert_shows(&facts, "<b>m&lt;n</b>: key_refused, since", true);
    assert_shows(&facts, "its runs end at once", true);
    view.lists.report = two_in_need;
    view.overview.attention = 2;
    assert_shows(&facts, "2 connections need attention: their runs end at once", true);
    assert_shows(&facts, "more: <code>klaviyo-worker connection list</code>", false);
    view.overview.attention = 53;
    assert_shows(&facts, "53 connections need attention: their runs end at once", true);
    assert_shows(&facts, "And 51 more: <code>klaviyo-worker connection list</code>", true);
}

static void outcomes_that_wait_are_said(void **state)
{
    struct snapshot_view view = { .read_ms = 19000, .overview.oldest_outcome_s = 4 };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "class=\"notice\"", false);
    view.overview.oldest_outcome_s = 3600;
    assert_shows(&facts, "Outcome events wait for their broker, the oldest for 60 min", true);
}

static void what_is_held_up_here_is_said(void **state)
{
    struct snapshot_view view = { .read_ms = 19000 };
    struct page_facts facts = facts_of(&view);

    (void)state;
    facts.event_blocked_ms = facts.now_ms - 10000;
    facts.run_blocked_ms = facts.now_ms - 10000;
    assert_shows(&facts, "class=\"notice\"", false);
    facts.event_blocked_ms++;
    assert_shows(&facts, "holds up events. The log names the session (<code>events_blocked", true);
    facts.run_blocked_ms++;
    assert_shows(&facts, "holds up runs. The log names the session (<code>runs_blocked", true);
    facts.letters_waiting = 3;
    assert_shows(&facts, "wait here for their broker: 3.", true);
    view.overview.waiting_for_key = 2;
    assert_shows(&facts, "another key file than a worker's: 2.", true);
}

static void what_a_plan_allows_is_as_it_was_told(void **state)
{
    char report[] =
        "{\"accounts\": ["
        "{\"name\": \"A\", \"share\": 100, \"plan\": {\"used\": 9000, \"maximum\": 10000,"
        " \"at\": \"1970-01-01T00:00:00Z\"}},"
        "{\"name\": \"B\", \"share\": 100, \"plan\": {\"used\": 9, \"maximum\": null,"
        " \"at\": \"1970-01-01T00:00:00Z\"}},"
        "{\"name\": \"C\", \"share\": 100, \"plan\": null}]}";
    struct snapshot_view view = { .read_ms = 19000, .lists.report = report };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "9\u202f000 of 10\u202f000 profiles of the Klaviyo plan", true);
    assert_shows(&facts, "9 profiles; the Klaviyo plan names no limit", true);
    assert_shows(&facts, "What the Klaviyo plan allows is not known yet", true);
}

static void the_time_left_of_a_run_is_told_where_it_is_known(void **state)
{
    char run[] = "[{\"id\": 7, \"export\": \"x\", \"state\": \"running\","
                 " \"started_at\": \"1970-01-01T00:00:00Z\","
                 " \"counts\": {\"selected\": 2000, \"accepted\": 500}}]";
    char known[] = "{\"outlooks\": {\"7\": {\"planned\": 700, \"job_ms\": 2000,"
                   " \"percent\": 100}}}";
    char unknown[] = "{\"outlooks\": {\"7\": {\"planned\": 700, \"job_ms\": null,"
                     " \"percent\": 100}}}";
    struct snapshot_view view = { .read_ms = 19000, .lists = { .runs = run, .report = known } };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "500 of 2\u202f000 confirmed, about 4 min left<progress", true);
    view.lists.report = unknown;
    assert_shows(&facts, "500 of 2\u202f000 confirmed<progress", true);
}

static void partitions_are_shown_with_their_lag_where_it_is_known(void **state)
{
    static const struct service_partition partitions[] = {
        { .partition = 3, .watermark = 10, .committed = 9, .end = 25, .open = 2 },
        { .partition = 4, .watermark = -1, .committed = -1, .end = -1 },
    };
    struct snapshot_view view = { .read_ms = 19000 };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "This worker has no partition now", true);
    facts.partitions = partitions;
    facts.n_partitions = 2;
    assert_shows(&facts, "<td class=\"n\" data-name=\"Lag\">15</td>", true);
    assert_shows(&facts, "<td class=\"n\" data-name=\"Lag\">–</td>", true);
    assert_shows(&facts, "<b>15</b>events of lag here", true);
}

static void nothing_comes_from_elsewhere_and_the_script_is_our_own(void **state)
{
    struct snapshot_view view = { .read_ms = 19000, .lists.runs = run_failed };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "http://", false);
    assert_shows(&facts, "https://", false);
    assert_shows(&facts, "<script src", false);
    assert_shows(&facts, "<script>", true);
    assert_shows(&facts, " onclick=", false);
    assert_shows(&facts, "style=", false);
}

static void exports_load_and_dead_letters_are_shown(void **state)
{
    struct snapshot_view view = { .read_ms = 19000,
                                  .lists = { two_runs, exports, trends_and_batches, { 0 } } };
    struct page_facts facts = facts_of(&view);

    (void)state;
    assert_shows(&facts, "list &lt;List&gt;, connection main", true);
    assert_shows(&facts, "<td class=\"n\" data-name=\"Members\">4\u202f321</td>", true);
    assert_shows(&facts, "<td class=\"n\" data-name=\"Members\">–</td>", true);
    assert_shows(&facts, "<span class=\"badge soft\">paused</span>", true);
    assert_shows(&facts, "<span class=\"badge bad\">stale</span>", true);
    assert_shows(&facts, "<span class=\"soft\">none yet</span>", true);
    assert_shows(&facts, "the last 2 runs, 1 of them failed", true);
    assert_shows(&facts, "46 profiles in the last hour", true);
    assert_shows(&facts, "30 of 75 imports of the last minute", true);
    assert_shows(&facts, "Klaviyo asked to wait: ", true);
    assert_shows(&facts, "s&lt;1", true);
    assert_shows(&facts, "<span class=\"state good\">solved since</span>", true);
    assert_shows(&facts, "<span class=\"state bad\">open</span>", true);
    assert_shows(&facts, "There is no export", false);
}

/* The same of what was read so long ago. */
static void assert_detail_of(int64_t age_ms, const char *name, int64_t run_id, bool is_there,
                             const char *words)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100000);
    struct snapshot_view view = { .read_ms = 20000 - age_ms,
                                  .lists = { two_runs, exports, trends_and_batches, { 0 } } };
    struct page_facts facts = facts_of(&view);
    struct error err = ERROR_INIT;
    bool found = !is_there;

    facts.now_us = 1795507260000000; /* 2026-11-24T08:01:00Z */

    assert_true(name ? page_write_export(&facts, name, &out, &found, &err)
                     : page_write_run(&facts, run_id, &out, &found, &err));
    assert_int_equal(found, is_there);
    if (!strstr(out.data, words))
        fail_msg("not there: %s\n%s", words, out.data);
}

/* The page of the export or, where there is no name, of the run has these words. */
static void assert_detail(const char *name, int64_t run_id, bool is_there, const char *words)
{
    assert_detail_of(1000, name, run_id, is_there, words);
}

static void an_export_has_a_page(void **state)
{
    (void)state;
    assert_detail("news", 0, true, "<dt>Segments</dt><dd>one, t&lt;o</dd>");
    assert_detail("news", 0, true, "<dt>Members who leave</dt><dd>remove</dd>");
    assert_detail("news", 0, true, "the last 2 runs, 1 of them failed");
    assert_detail("news", 0, true, "<a href=\"/run?id=10\">10</a>");
    assert_detail("quiet", 0, true, "<dt>Paused because of</dt><dd>nobody wants it</dd>");
    assert_detail("news", 0, true, "<code>klaviyo-worker runs list --export</code>");
    assert_detail("other", 0, false, "There is no export of that name.");
}

static void what_is_old_is_not_shown_as_new(void **state)
{
    (void)state;
    assert_detail_of(15000, "news", 0, true, "as they were 15 seconds ago");
    assert_detail_of(15000, NULL, 12, true, "as they were 15 seconds ago");
    assert_detail_of(15000, "other", 0, false, "is not known yet");
    assert_detail_of(15000, NULL, 13, false, "is not known yet");
    assert_detail_of(20000, "news", 0, true, "The database has not answered yet");
}

static void a_run_has_a_page(void **state)
{
    (void)state;
    assert_detail(NULL, 12, true, "<h2>Run 12 of <a href=\"/export?name=news\">news</a></h2>");
    assert_detail(NULL, 12, true, "<dt>Members</dt><dd>all, changed or not</dd>");
    assert_detail(NULL, 12, true, "<h3>Members read: 100</h3>");
    assert_detail(NULL, 12, true, "<h3>Profiles to be sent: 40</h3>");
    assert_detail(NULL, 12, true, "<h3>Batches</h3>");
    assert_detail(NULL, 12, true, "when the batches were imported, from the start of the run");
    assert_detail(NULL, 12, true, "<span>start</span><span>13 s</span>");
    assert_detail(NULL, 12, true, "<dt>Taken off the list</dt><dd>6</dd>");
    assert_detail(NULL, 10, true, "<b>list_gone</b>");
    assert_detail(NULL, 13, false, "This run is not among the newest 100");
}

static void a_browser_is_told_to_load_nothing_but_our_style_and_script(void **state)
{
    char policy[PAGE_POLICY_BYTES];

    (void)state;
    page_policy(policy);
    assert_ptr_equal(strstr(policy, CLOSED_POLICY "; style-src 'sha256-"), policy);
    assert_non_null(strstr(policy, "='; script-src 'sha256-"));
    assert_null(strstr(policy, "unsafe"));
}

static void what_is_no_json_is_an_error(void **state)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(100000);
    char text[] = "[{";
    struct snapshot_view view = { .read_ms = 19000, .lists.runs = text };
    struct page_facts facts = facts_of(&view);
    struct error err = ERROR_INIT;

    (void)state;
    assert_false(page_write(&facts, &out, &err));
    assert_false(page_write_export(&facts, "x", &out, &(bool){ false }, &err));
    assert_false(page_write_run(&facts, 1, &out, &(bool){ false }, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_shown_with_state_and_progress),
        cmocka_unit_test(those_in_progress_that_are_not_shown_are_counted),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(the_page_says_when_the_database_is_away_or_a_connection_needs_attention),
        cmocka_unit_test(outcomes_that_wait_are_said),
        cmocka_unit_test(what_is_held_up_here_is_said),
        cmocka_unit_test(what_a_plan_allows_is_as_it_was_told),
        cmocka_unit_test(the_time_left_of_a_run_is_told_where_it_is_known),
        cmocka_unit_test(partitions_are_shown_with_their_lag_where_it_is_known),
        cmocka_unit_test(nothing_comes_from_elsewhere_and_the_script_is_our_own),
        cmocka_unit_test(exports_load_and_dead_letters_are_shown),
        cmocka_unit_test(an_export_has_a_page),
        cmocka_unit_test(what_is_old_is_not_shown_as_new),
        cmocka_unit_test(a_run_has_a_page),
        cmocka_unit_test(a_browser_is_told_to_load_nothing_but_our_style_and_script),
        cmocka_unit_test(what_is_no_json_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
