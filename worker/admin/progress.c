#include "worker/admin/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/parse.h"
#include "common/strbuf.h"

enum { LINE_EVERY_MS = 5000, LINE_MAX_BYTES = 512 };

static const char *text_of(const json_t *run, const char *name)
{
    const char *text = json_string_value(json_object_get(run, name));

    return text ? text : "";
}

static int64_t count_of(const json_t *run, const char *name)
{
    return json_integer_value(json_object_get(json_object_get(run, "counts"), name));
}

static bool is_one_of(const char *state, const char *const states[])
{
    for (; *states; states++)
        if (strcmp(state, *states) == 0)
            return true;
    return false;
}

bool run_has_ended(const json_t *run)
{
    static const char *const open[] = { "queued", "running", "waiting", NULL };

    return !is_one_of(text_of(run, "state"), open);
}

bool run_has_succeeded(const json_t *run)
{
    static const char *const good[] = { "succeeded", "succeeded_with_rejections", NULL };

    return is_one_of(text_of(run, "state"), good);
}

/* Microseconds since the run's time of that name; 0: it has none. */
static int64_t since(const json_t *run, const char *name, int64_t now_us)
{
    const char *text = text_of(run, name);
    int64_t us;

    return parse_rfc3339(text, strlen(text), &us) ? now_us - us : 0;
}

/* What is left of the selected rows at the pace so far. */
static void add_time_left(struct strbuf *line, const json_t *run, int64_t now_us)
{
    int64_t done = count_of(run, "accepted") + count_of(run, "rejected");
    int64_t left = count_of(run, "selected") - done;
    int64_t elapsed_us = since(run, "started_at", now_us);

    if (run_has_ended(run) || done <= 0 || left <= 0 || elapsed_us <= 0)
        return;
    double seconds = (double)elapsed_us / 1e6 / (double)done * (double)left;
    strbuf_addf(line, ", about %.0f s left", seconds + 0.5);
}

static void add_times(struct strbuf *line, const json_t *run, int64_t now_us)
{
    const char *until = text_of(run, "waiting_until");
    int64_t took_us = since(run, "started_at", now_us) - since(run, "finished_at", now_us);

    if (*until && strlen(until) > 19)
        strbuf_addf(line, ", waiting until %.8s UTC", until + 11);
    if (run_has_ended(run) && *text_of(run, "finished_at") && *text_of(run, "started_at"))
        strbuf_addf(line, ", %.1f s", (double)took_us / 1e6);
}

/* While members are still read, the count of the selected lags a second behind. */
static int64_t selected(const json_t *run)
{
    int64_t done = count_of(run, "accepted") + count_of(run, "rejected");

    return count_of(run, "selected") > done ? count_of(run, "selected") : done;
}

void progress_line(const json_t *run, int64_t now_us, char *text, size_t size)
{
    CLEANUP(strbuf_release) struct strbuf line = STRBUF_INIT(LINE_MAX_BYTES);
    int64_t rejected = count_of(run, "rejected"), invalid = count_of(run, "invalid");

    strbuf_addf(&line, "run %" PRId64 " of %s: %s",
                (int64_t)json_integer_value(json_object_get(run, "id")), text_of(run, "export"),
                text_of(run, "state"));
    if (*text_of(run, "started_at"))
        strbuf_addf(&line, ", %" PRId64 " read", count_of(run, "read"));
    if (*text_of(run, "started_at") && invalid > 0)
        strbuf_addf(&line, ", %" PRId64 " invalid", invalid);
    if (*text_of(run, "started_at"))
        strbuf_addf(&line, ", %" PRId64 " of %" PRId64 " accepted", count_of(run, "accepted"),
                    selected(run));
    if (rejected > 0)
        strbuf_addf(&line, ", %" PRId64 " rejected", rejected);
    add_times(&line, run, now_us);
    add_time_left(&line, run, now_us);
    (void)snprintf(text, size, "%s", line.data ? line.data : "");
}

void progress_init(struct progress *progress)
{
    *progress = (struct progress){ .terminal = isatty(STDOUT_FILENO) != 0 };
}

/* The ids and states of all of them: a new line is due when this has changed. */
static void states_of(const json_t *runs, char *states, size_t size)
{
    size_t used = 0;

    states[0] = '\0';
    for (size_t i = 0; i < json_array_size(runs) && i < PROGRESS_RUNS; i++) {
        const json_t *run = json_array_get(runs, i);
        int n = snprintf(states + used, size - used, "%" PRId64 "%.40s ",
                         (int64_t)json_integer_value(json_object_get(run, "id")),
                         text_of(run, "state"));
        used += n > 0 && (size_t)n < size - used ? (size_t)n : 0;
    }
}

static bool is_due(struct progress *progress, const json_t *runs)
{
    char states[sizeof progress->states];

    states_of(runs, states, sizeof states);
    bool due = progress->terminal || strcmp(states, progress->states) != 0 ||
               clock_ms() - progress->printed_ms >= LINE_EVERY_MS;
    memcpy(progress->states, states, sizeof states);
    return due;
}

void progress_show(struct progress *progress, const json_t *runs)
{
    char line[LINE_MAX_BYTES];

    if (!is_due(progress, runs))
        return;
    if (progress->terminal && progress->lines_drawn > 0)
        (void)printf("\033[%dA", progress->lines_drawn); /* up again */
    progress->lines_drawn = 0;
    for (size_t i = 0; i < json_array_size(runs) && i < PROGRESS_RUNS; i++) {
        progress_line(json_array_get(runs, i), clock_utc_us(), line, sizeof line);
        (void)printf(progress->terminal ? "\r\033[K%s\n" : "%s\n", line);
        progress->lines_drawn++;
    }
    progress->printed_ms = clock_ms();
    (void)fflush(stdout);
}
