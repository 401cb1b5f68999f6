#include "worker/admin/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/age.h"
#include "common/clock.h"
#include "common/parse.h"
#include "common/strbuf.h"
#include "common/visible_text.h"
#include "worker/cli/print.h"
#include "worker/store/run_state.h"

enum {
    LINE_EVERY_MS = 5000,
    LINE_MAX_BYTES = 512,
    USUAL_COLUMNS = 80,
    BAR_WIDTH = 10,
    BAR_FROM_COLUMNS = 76
};

static const char *text_of(const json_t *run, const char *name)
{
    const char *text = json_string_value(json_object_get(run, name));

    return text ? text : "";
}

static int64_t count_of(const json_t *run, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(run, "counts"), name));
}

/* One that this version does not know counts as failed. */
static enum run_state state_of(const json_t *run)
{
    enum run_state state = RUN_FAILED;

    (void)run_state_of(text_of(run, "state"), &state);
    return state;
}

bool run_has_ended(const json_t *run)
{
    return run_state_is_end(state_of(run));
}

bool run_has_succeeded(const json_t *run)
{
    enum run_state state = state_of(run);

    return state == RUN_SUCCEEDED || state == RUN_SUCCEEDED_WITH_REJECTIONS;
}

/* The run's time of that name, in microseconds of UTC; 0: it has none. */
static int64_t time_of(const json_t *run, const char *name)
{
    const char *text = text_of(run, name);
    int64_t us;

    return parse_rfc3339(text, strlen(text), &us) ? us : 0;
}

static int64_t done_rows(const json_t *run)
{
    return count_of(run, "accepted") + count_of(run, "rejected");
}

/* While members are still read, the count of the selected lags a second behind. */
static int64_t selected_rows(const json_t *run)
{
    int64_t done = done_rows(run);

    return count_of(run, "selected") > done ? count_of(run, "selected") : done;
}

/* ---- time left ---- */

void progress_estimate_update(struct progress_estimate *estimate, const json_t *run, int64_t now_us)
{
    int64_t id = json_integer_value(json_object_get(run, "id"));
    struct time_left_facts facts;

    if (estimate->run_id != id)
        *estimate = (struct progress_estimate){ .run_id = id };
    bool known = time_left_read(run, json_object_get(run, "outlook"), now_us, &facts);
    time_left_update(&estimate->left, known ? &facts : NULL, now_us);
}

static void add_seconds_left(struct strbuf *line, int64_t seconds)
{
    if (seconds == 0)
        return;
    strbuf_add_str(line, ", about ");
    age_add_span(line, seconds);
    strbuf_add_str(line, " left");
}

/* ---- a line ---- */

/* "08:05:07" of the time until which the run waits; NULL: it does not. */
static const char *waiting_until(const json_t *run)
{
    const char *until = text_of(run, "waiting_until");

    return state_of(run) == RUN_WAITING && strlen(until) > 19 ? until + 11 : NULL;
}

static void add_name(struct strbuf *line, const json_t *run, size_t max)
{
    const char *name = text_of(run, "export");

    strbuf_addf(line, "run %" PRId64 " of ",
                (int64_t)json_integer_value(json_object_get(run, "id")));
    bool whole = visible_text_add(line, VISIBLE_LINE, name, strlen(name), max);
    strbuf_add_str(line, whole ? ": " : "…: ");
}

static void add_duration(struct strbuf *line, const json_t *run)
{
    int64_t from_us = time_of(run, "started_at"), to_us = time_of(run, "finished_at");

    if (run_has_ended(run) && from_us && to_us)
        strbuf_addf(line, ", %.1f s", (double)(to_us - from_us) / 1e6);
}

static void add_counts(struct strbuf *line, const json_t *run)
{
    strbuf_addf(line, ", %" PRId64 " read", count_of(run, "read"));
    if (count_of(run, "invalid") > 0)
        strbuf_addf(line, ", %" PRId64 " invalid", count_of(run, "invalid"));
    strbuf_addf(line, ", %" PRId64 " of %" PRId64 " accepted", count_of(run, "accepted"),
                selected_rows(run));
}

/* "waiting until 08:05:07 UTC (rate_limited)" */
static void add_state(struct strbuf *line, const json_t *run)
{
    const char *until = waiting_until(run);

    strbuf_add_str(line, text_of(run, "state"));
    if (until)
        strbuf_addf(line, " until %.8s UTC", until);
    if (state_of(run) == RUN_WAITING && *text_of(run, "reason"))
        strbuf_addf(line, " (%s)", text_of(run, "reason"));
}

static void make_full(struct strbuf *line, const json_t *run, int64_t seconds)
{
    add_name(line, run, LINE_MAX_BYTES);
    add_state(line, run);
    if (*text_of(run, "started_at"))
        add_counts(line, run);
    if (count_of(run, "rejected") > 0)
        strbuf_addf(line, ", %" PRId64 " rejected", count_of(run, "rejected"));
    add_duration(line, run);
    add_seconds_left(line, seconds);
}

/* For a terminal that is too narrow for the whole line: what matters most first. */
static void make_short(struct strbuf *line, const json_t *run, int64_t seconds, int columns)
{
    const char *until = waiting_until(run);

    add_name(line, run, (size_t)columns / 4);
    if (until)
        strbuf_addf(line, "until %.8s", until);
    else
        strbuf_add_str(line, text_of(run, "state"));
    if (*text_of(run, "started_at"))
        strbuf_addf(line, ", %" PRId64 "/%" PRId64, count_of(run, "accepted"), selected_rows(run));
    add_seconds_left(line, seconds);
    if (count_of(run, "invalid") > 0)
        strbuf_addf(line, ", %" PRId64 " invalid", count_of(run, "invalid"));
    if (count_of(run, "rejected") > 0)
        strbuf_addf(line, ", %" PRId64 " rejected", count_of(run, "rejected"));
}

/* Bytes of the first code points that fill at most that many columns; a wide one fills two. */
static size_t bytes_of_columns(const char *text, int columns)
{
    const char *at = text;

    while (*at) {
        unsigned char first = (unsigned char)*at;
        size_t n = 1;

        while ((at[n] & 0xc0) == 0x80)
            n++;
        columns -= first >= 0xe1 ? 2 : 1; /* U+1000 and beyond: wide ones are among them */
        if (columns < 0)
            break;
        at += n;
    }
    return (size_t)(at - text);
}

static bool fits(const struct strbuf *line, int columns)
{
    return bytes_of_columns(line->data, columns) == line->len;
}

void progress_line(const json_t *run, const struct progress_estimate *estimate, int64_t now_us,
                   int columns, char *text, size_t size)
{
    CLEANUP(strbuf_release) struct strbuf line = STRBUF_INIT(LINE_MAX_BYTES);
    int64_t seconds = time_left_seconds(&estimate->left, now_us);

    make_full(&line, run, seconds);
    if (strbuf_ok(&line) && !fits(&line, columns)) {
        strbuf_rewind(&line, 0);
        make_short(&line, run, seconds, columns);
    }
    (void)snprintf(text, size, "%s", line.data ? line.data : "");
    if (strbuf_ok(&line) && !fits(&line, columns))
        (void)snprintf(text, size, "%.*s…", (int)bytes_of_columns(line.data, columns - 1),
                       line.data);
}

void progress_init(struct progress *progress)
{
    const char *term = getenv("TERM"); /* NOLINT(concurrency-mt-unsafe): no thread changes it */

    *progress = (struct progress){ .terminal = isatty(STDOUT_FILENO) != 0 &&
                                               !(term && strcmp(term, "dumb") == 0) };
}

/* ---- which runs ---- */

/* Runs that are shown, lent and in their order, and what is left out. */
struct shown {
    const json_t *runs[PROGRESS_RUNS];
    size_t n;
    size_t n_more;      /* that are not shown, */
    size_t n_more_open; /* and have not ended */
};

static size_t count_open(const json_t *runs)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(runs); i++)
        n += !run_has_ended(json_array_get(runs, i));
    return n;
}

static size_t smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* What has ended makes room for what is waited for. */
static void choose(const json_t *runs, struct shown *shown)
{
    size_t n_open = count_open(runs);
    size_t open_left = smaller(n_open, PROGRESS_RUNS);
    size_t ended_left = smaller(json_array_size(runs) - n_open, PROGRESS_RUNS - open_left);

    *shown = (struct shown){ .n_more_open = n_open - open_left,
                             .n_more = json_array_size(runs) - open_left - ended_left };
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *run = json_array_get(runs, i);
        size_t *left = run_has_ended(run) ? &ended_left : &open_left;
        if (*left == 0)
            continue;
        --*left;
        shown->runs[shown->n++] = run;
    }
}

/* How many are left out, and the ids and states of the others: a change makes a line due. */
static void states_of(const struct shown *shown, char *states, size_t size)
{
    int n = snprintf(states, size, "%zu %zu ", shown->n_more, shown->n_more_open);
    size_t used = n > 0 ? (size_t)n : 0;

    for (size_t i = 0; i < shown->n; i++) {
        const json_t *run = shown->runs[i];
        n = snprintf(states + used, size - used, "%" PRId64 "%.40s ",
                     (int64_t)json_integer_value(json_object_get(run, "id")),
                     text_of(run, "state"));
        used += n > 0 && (size_t)n < size - used ? (size_t)n : 0;
    }
}

static bool is_due(struct progress *progress, const struct shown *shown)
{
    char states[sizeof progress->states];

    states_of(shown, states, sizeof states);
    bool due = progress->terminal || strcmp(states, progress->states) != 0 ||
               clock_ms() - progress->printed_ms >= LINE_EVERY_MS;
    memcpy(progress->states, states, sizeof states);
    return due;
}

/* Of the terminal, but for the last one: a line that fills it may or may not begin another. */
static int usable_columns(const struct progress *progress)
{
    struct winsize size = { .ws_col = 0 };

    if (!progress->terminal)
        return LINE_MAX_BYTES;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2)
        return USUAL_COLUMNS - 1;
    return size.ws_col - 1;
}

/* "██████░░░░ " of what is to be sent; empty before that is known, and once the run has ended. */
static void make_bar(const json_t *run, struct strbuf *bar)
{
    int64_t selected = selected_rows(run);

    if (selected == 0 || run_has_ended(run))
        return;
    int64_t full = done_rows(run) * BAR_WIDTH / selected;
    for (int64_t i = 0; i < BAR_WIDTH; i++)
        strbuf_add_str(bar, i < full ? "█" : "░");
    strbuf_add_str(bar, " ");
}

/* A terminal that is wide enough gets a bar in front of the line. */
static void draw_run(struct progress *progress, size_t i, const json_t *run, int columns)
{
    CLEANUP(strbuf_release) struct strbuf bar = STRBUF_INIT(LINE_MAX_BYTES);
    int64_t now_us = clock_utc_us();
    char line[LINE_MAX_BYTES];

    progress_estimate_update(&progress->estimates[i], run, now_us);
    if (progress->terminal && columns >= BAR_FROM_COLUMNS)
        make_bar(run, &bar);
    progress_line(run, &progress->estimates[i], now_us, columns - (bar.len > 0 ? BAR_WIDTH + 1 : 0),
                  line, sizeof line);
    print_line("%s%s", bar.data ? bar.data : "", line);
}

/* "and 4 more, 2 not ended" */
static void draw_more(struct progress *progress, const struct shown *shown, int columns)
{
    char line[80], open[40] = "";

    if (shown->n_more == 0)
        return;
    if (shown->n_more_open > 0)
        (void)snprintf(open, sizeof open, ", %zu not ended", shown->n_more_open);
    (void)snprintf(line, sizeof line, "and %zu more%s", shown->n_more, open);
    print_line("%.*s", columns, line);
    progress->lines_drawn++;
}

/* On a terminal: to where the lines that were drawn before began; they are erased. */
static void go_back(struct progress *progress)
{
    if (progress->terminal && progress->lines_drawn > 0)
        print_control("\033[%dA", progress->lines_drawn);
    if (progress->terminal)
        print_control("\r\033[J");
    progress->lines_drawn = 0;
}

void progress_show(struct progress *progress, const json_t *runs)
{
    int columns = usable_columns(progress);
    struct shown shown;

    choose(runs, &shown);
    if (!is_due(progress, &shown))
        return;
    go_back(progress);
    for (size_t i = 0; i < shown.n; i++) {
        draw_run(progress, i, shown.runs[i], columns);
        progress->lines_drawn++;
    }
    draw_more(progress, &shown, columns);
    progress->printed_ms = clock_ms();
    (void)fflush(stdout);
}
