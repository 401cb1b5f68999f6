#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/parse.h"
#include "worker/admin/progress.h"

#define NOW "2026-11-24T08:00:10.000000Z"
/* 25 imports of 2 s, five of them at once. */
#define OUTLOOK "'outlook': {'planned': 20, 'sent': 5, 'job_ms': 2000, 'percent': 100}"

static const struct {
    const char *run;
    const char *line;
} cases[] = {
    { "{'id': 1, 'export': 'news', 'state': 'queued', 'started_at': null, 'counts': {}}",
      "run 1 of news: queued" },
    { "{'id': 2, 'export': 'news', 'state': 'running', 'started_at': '2026-11-24T08:00:00Z',"
      " 'counts': {'read': 100, 'selected': 80, 'accepted': 40}, " OUTLOOK "}",
      "run 2 of news: running, 100 read, 40 of 80 accepted, about 10 s left" },
    { "{'id': 3, 'export': 'news', 'state': 'running', 'started_at': '2026-11-24T08:00:00Z',"
      " 'counts': {'read': 100, 'selected': 80, 'accepted': 0}}",
      "run 3 of news: running, 100 read, 0 of 80 accepted" },
    { "{'id': 4, 'export': 'news', 'state': 'waiting', 'started_at': '2026-11-24T08:00:00Z',"
      " 'waiting_until': '2026-11-24T08:05:07.123456Z', 'counts': {'read': 9}}",
      "run 4 of news: waiting until 08:05:07 UTC, 9 read, 0 of 0 accepted" },
    { "{'id': 9, 'export': 'news', 'state': 'waiting', 'started_at': '2026-11-24T08:00:00Z',"
      " 'reason': 'klaviyo_unavailable', 'counts': {'read': 9}}",
      "run 9 of news: waiting (klaviyo_unavailable), 9 read, 0 of 0 accepted" },
    { "{'id': 5, 'export': 'news', 'state': 'succeeded_with_rejections',"
      " 'started_at': '2026-11-24T08:00:00Z', 'finished_at': '2026-11-24T08:00:02.5Z',"
      " 'counts': {'read': 10, 'selected': 10, 'accepted': 7, 'rejected': 3}}",
      "run 5 of news: succeeded_with_rejections, 10 read, 7 of 10 accepted, 3 rejected, 2.5 s" },
    { "{'id': 8, 'export': 'news', 'state': 'succeeded',"
      " 'started_at': '2026-11-24T08:00:00Z', 'finished_at': '2026-11-24T08:00:02Z',"
      " 'counts': {'read': 10, 'invalid': 9, 'selected': 1, 'accepted': 1}}",
      "run 8 of news: succeeded, 10 read, 9 invalid, 1 of 1 accepted, 2.0 s" },
    { "{'id': 6, 'export': 'news', 'state': 'cancelled', 'finished_at': '2026-11-24T08:00:02Z',"
      " 'counts': {}}",
      "run 6 of news: cancelled" },
    { "{'id': 7, 'export': 'news', 'state': 'running', 'started_at': '2026-11-24T08:00:00Z',"
      " 'counts': {'read': 0, 'selected': 0, 'accepted': 40, 'rejected': 2}}",
      "run 7 of news: running, 0 read, 40 of 42 accepted, 2 rejected" },
};

/* JSON with single quotes, so that it can be read here. */
static json_t *json_of(const char *text)
{
    char copy[512];

    (void)snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    json_t *json = json_loads(copy, 0, NULL);
    assert_non_null(json);
    return json;
}

static void a_line_says_what_is_known(void **state)
{
    char line[512];
    int64_t now_us;

    (void)state;
    assert_true(parse_rfc3339(NOW, strlen(NOW), &now_us));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *run = json_of(cases[i].run);
        struct progress_estimate estimate = { .run_id = 0 };
        progress_estimate_update(&estimate, run, now_us);
        progress_line(run, &estimate, now_us, 500, line, sizeof line);
        assert_string_equal(line, cases[i].line);
        json_decref(run);
    }
}

/* A terminal's width, and what stands there; none is wider. */
static const struct {
    int columns;
    const char *line;
} widths[] = {
    { 140, "run 123 of newsletter: waiting until 08:05:07 UTC (rate_limited), 1000000 read, "
           "500000 of 1000000 accepted, 17 rejected, about 4 min left" },
    { 100, "run 123 of newsletter: until 08:05:07, 500000/1000000, about 4 min left, 17 rejected" },
    { 79, "run 123 of newsletter: until 08:05:07, 500000/1000000, about 4 min left, 17 re…" },
    { 59, "run 123 of newsletter: until 08:05:07, 500000/1000000, abo…" },
    { 20, "run 123 of newsl…:…" },
};

static void a_line_is_no_wider_than_the_terminal(void **state)
{
    json_t *run = json_of("{'id': 123, 'export': 'newsletter', 'state': 'waiting',"
                          " 'started_at': '2026-11-24T08:00:00Z',"
                          " 'waiting_until': '2026-11-24T08:05:07Z', 'reason': 'rate_limited',"
                          " 'counts': {'read': 1000000, 'selected': 1000000,"
                          " 'accepted': 500000, 'rejected': 17}, " OUTLOOK "}");
    struct progress_estimate estimate = { .run_id = 0 };
    char line[512];
    int64_t now_us;

    (void)state;
    assert_true(parse_rfc3339(NOW, strlen(NOW), &now_us));
    progress_estimate_update(&estimate, run, now_us);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        progress_line(run, &estimate, now_us, widths[i].columns, line, sizeof line);
        assert_string_equal(line, widths[i].line);
    }
    json_decref(run);
}

static void a_name_of_wide_characters_and_controls_is_measured_as_it_is_shown(void **state)
{
    json_t *run = json_of("{'id': 1, 'export': '\xe6\x97\xa5\xe6\x9c\xac\\u001b[2J', 'state': "
                          "'queued', 'counts': {}}");
    struct progress_estimate estimate = { .run_id = 0 };
    char line[512];

    (void)state;
    progress_line(run, &estimate, 0, 40, line, sizeof line);
    assert_string_equal(line, "run 1 of \xe6\x97\xa5\xe6\x9c\xac\\u001b[2J: queued");
    progress_line(run, &estimate, 0, 13, line, sizeof line);
    assert_string_equal(line, "run 1 of \xe6\x97\xa5…");
    json_decref(run);
}

static void the_time_left_does_not_grow_while_nothing_is_confirmed(void **state)
{
    json_t *run = json_of("{'id': 2, 'export': 'news', 'state': 'running',"
                          " 'started_at': '2026-11-24T08:00:00Z',"
                          " 'counts': {'read': 100, 'selected': 80, 'accepted': 40}, " OUTLOOK "}");
    struct progress_estimate estimate = { .run_id = 0 };
    char line[512], left[64];
    int64_t now_us;

    (void)state;
    assert_true(parse_rfc3339(NOW, strlen(NOW), &now_us));
    for (int seconds = 10; seconds > 0; seconds--, now_us += 1000000) {
        progress_estimate_update(&estimate, run, now_us);
        progress_line(run, &estimate, now_us, 500, line, sizeof line);
        (void)snprintf(left, sizeof left, ", about %d s left", seconds);
        assert_non_null(strstr(line, left));
    }
    json_decref(run);
}

/* So many runs, from number 1 on; of them `first_open` and the later ones are running. */
static json_t *runs_of(int n, int first_open)
{
    json_t *runs = json_array();

    for (int i = 1; i <= n; i++)
        (void)json_array_append_new(
            runs, json_pack("{s:i, s:s, s:s, s:{}}", "id", i, "export", "news", "state",
                            i < first_open ? "succeeded" : "running", "counts"));
    return runs;
}

/* What it prints where no terminal is. */
static void show(const json_t *runs, char *text, size_t size)
{
    struct progress progress = { .terminal = false };
    FILE *file = tmpfile();
    int kept = dup(STDOUT_FILENO);

    assert_true(file && kept >= 0 && fflush(stdout) == 0);
    assert_true(dup2(fileno(file), STDOUT_FILENO) >= 0);
    progress_show(&progress, runs);
    (void)fflush(stdout);
    assert_true(dup2(kept, STDOUT_FILENO) >= 0);
    (void)close(kept);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    (void)fclose(file);
}

static void of_many_runs_those_that_are_waited_for_are_shown(void **state)
{
    static const struct {
        int n, first_open;
        const char *first, *last; /* lines */
    } cases_of_many[] = {
        { 16, 17, "run 1 of news: succeeded\n", "\nrun 16 of news: succeeded\n" },
        { 17, 17, "run 1 of news: succeeded\n", "\nrun 17 of news: running\nand 1 more\n" },
        { 20, 5, "run 5 of news: running\n", "\nrun 20 of news: running\nand 4 more\n" },
        { 20, 2, "run 2 of news: running\n",
          "\nrun 17 of news: running\nand 4 more, 3 not ended\n" },
    };
    char text[4096];

    (void)state;
    for (size_t i = 0; i < sizeof cases_of_many / sizeof cases_of_many[0]; i++) {
        json_t *runs = runs_of(cases_of_many[i].n, cases_of_many[i].first_open);
        show(runs, text, sizeof text);
        assert_ptr_equal(strstr(text, cases_of_many[i].first), text);
        const char *last = strstr(text, cases_of_many[i].last);
        assert_non_null(last);
        assert_string_equal(last, cases_of_many[i].last);
        json_decref(runs);
    }
}

static void a_run_that_ends_out_of_sight_is_a_new_line(void **state)
{
    struct progress progress = { .terminal = false };
    json_t *before = runs_of(20, 2), *after = runs_of(20, 2);

    (void)state;
    json_object_set_new(json_array_get(after, 19), "state", json_string("failed"));
    progress_show(&progress, before);
    int64_t printed_ms = progress.printed_ms = INT64_C(1) << 60;
    progress_show(&progress, before);
    assert_int_equal(progress.printed_ms, printed_ms);
    progress_show(&progress, after);
    assert_int_not_equal(progress.printed_ms, printed_ms);
    assert_int_equal(progress.lines_drawn, PROGRESS_RUNS + 1);
    json_decref(before);
    json_decref(after);
}

static void states_that_end_and_states_that_succeed(void **state)
{
    static const struct {
        const char *run;
        bool ended, succeeded;
    } states[] = {
        { "{'state': 'queued'}", false, false },
        { "{'state': 'running'}", false, false },
        { "{'state': 'waiting'}", false, false },
        { "{'state': 'succeeded'}", true, true },
        { "{'state': 'succeeded_with_rejections'}", true, true },
        { "{'state': 'failed'}", true, false },
        { "{'state': 'cancelled'}", true, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        json_t *run = json_of(states[i].run);
        assert_int_equal(run_has_ended(run), states[i].ended);
        assert_int_equal(run_has_succeeded(run), states[i].succeeded);
        json_decref(run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_what_is_known),
        cmocka_unit_test(a_line_is_no_wider_than_the_terminal),
        cmocka_unit_test(a_name_of_wide_characters_and_controls_is_measured_as_it_is_shown),
        cmocka_unit_test(the_time_left_does_not_grow_while_nothing_is_confirmed),
        cmocka_unit_test(of_many_runs_those_that_are_waited_for_are_shown),
        cmocka_unit_test(a_run_that_ends_out_of_sight_is_a_new_line),
        cmocka_unit_test(states_that_end_and_states_that_succeed),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
