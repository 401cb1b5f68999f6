#include "worker/http/snapshot.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/monitor.h"
#include "common/wakeup.h"

/* For runs that the lists do not have. */
struct question {
    struct list_filter filter;
    bool wanted, too_slow;
    int64_t tried_ms; /* when a reading for it ended last, well or not; 0: none did */
    char *runs;       /* NULL: it brought nothing */
};

struct snapshot {
    const struct snapshot_ports *ports;
    int done_fd;
    pthread_t thread;

    struct monitor monitor; /* of what follows; entered for copies only */
    bool wanted, stop;
    struct snapshot_view last;
    struct question questions[SNAPSHOT_QUESTIONS];

    bool failing;    /* the thread's own: has been logged */
    int64_t omitted; /* the thread's own, too: as it was read last */
};

/* SNAPSHOT_QUESTIONS: none is. */
static size_t find_wanted(const struct snapshot *snapshot)
{
    size_t i = 0;

    while (i < SNAPSHOT_QUESTIONS && !snapshot->questions[i].wanted)
        i++;
    return i;
}

/* Waits until somebody wants a reading and the last one is old enough. *lists: of the lists. */
static bool wait_until_wanted(struct snapshot *snapshot, bool *lists)
{
    monitor_enter(&snapshot->monitor);
    while (!snapshot->wanted && find_wanted(snapshot) == SNAPSHOT_QUESTIONS && !snapshot->stop)
        monitor_wait(&snapshot->monitor);
    bool go_on = !snapshot->stop;
    *lists = snapshot->wanted;
    monitor_leave(&snapshot->monitor);
    return go_on;
}

static void put(struct snapshot *snapshot, const struct snapshot_view *read)
{
    struct overview_lists before = { .runs = NULL };

    monitor_enter(&snapshot->monitor);
    snapshot->wanted = false;
    snapshot->last.tried_ms = read->tried_ms;
    snapshot->last.too_slow = read->too_slow;
    if (read->lists.runs) {
        before = snapshot->last.lists;
        snapshot->last = *read;
    }
    monitor_leave(&snapshot->monitor);
    overview_lists_release(&before);
}

/* Exports without metrics of their own, when their number changes. */
static void note_omitted(struct snapshot *snapshot, const struct freshness *freshness)
{
    if (freshness->omitted > 0 && freshness->omitted != snapshot->omitted)
        log_warn("export_metrics_omitted", LOG_INT("exports", freshness->omitted),
                 LOG_INT("shown", (int64_t)freshness->n));
    snapshot->omitted = freshness->omitted;
}

static void read_once(struct snapshot *snapshot)
{
    const struct snapshot_ports *ports = snapshot->ports;
    struct snapshot_view read = { .read_ms = clock_ms() };
    struct error err = ERROR_INIT;

    bool ok = ports->read(ports->opaque, &read.overview, &read.lists, &err);
    read.tried_ms = clock_ms();
    if (!ok && !snapshot->failing)
        log_warn("snapshot_failed", LOG_ERROR_OF(&err));
    snapshot->failing = !ok;
    read.too_slow = !ok && ports->was_too_slow(ports->opaque);
    note_omitted(snapshot, &read.lists.freshness);
    put(snapshot, &read);
}

/* There is one, as only this thread takes them; its index stays its own while it is wanted. */
static size_t take_question(struct snapshot *snapshot, struct list_filter *filter)
{
    monitor_enter(&snapshot->monitor);
    size_t i = find_wanted(snapshot);
    *filter = snapshot->questions[i].filter;
    monitor_leave(&snapshot->monitor);
    return i;
}

static void put_runs(struct snapshot *snapshot, size_t i, char *runs, bool too_slow)
{
    struct question *question = &snapshot->questions[i];

    monitor_enter(&snapshot->monitor);
    free(question->runs);
    question->runs = runs;
    question->too_slow = too_slow;
    question->tried_ms = clock_ms();
    question->wanted = false;
    monitor_leave(&snapshot->monitor);
}

static void read_runs(struct snapshot *snapshot)
{
    const struct snapshot_ports *ports = snapshot->ports;
    struct list_filter asked;
    struct error err = ERROR_INIT; /* the request's own error */
    char *runs = NULL;

    size_t i = take_question(snapshot, &asked);
    const struct history_filter filter = { .export_name =
                                               *asked.export_name ? asked.export_name : NULL,
                                           .state = *asked.state ? asked.state : NULL,
                                           .limit = list_filter_limit(&asked, OVERVIEW_RUNS) };
    bool ok = ports->read_runs(ports->opaque, &filter, &runs, &err);
    put_runs(snapshot, i, runs, !ok && ports->was_too_slow(ports->opaque));
}

/* Threads that wait for something else are woken, too, and wait again. */
static void *keep_reading(void *argument)
{
    struct snapshot *snapshot = argument;
    bool lists;

    while (wait_until_wanted(snapshot, &lists)) {
        if (lists)
            read_once(snapshot);
        else
            read_runs(snapshot); /* one: the lists come first again after it */
        wakeup_signal(snapshot->done_fd);
    }
    snapshot->ports->disconnect(snapshot->ports->opaque);
    return NULL;
}

static void release(struct snapshot *snapshot)
{
    snapshot_view_release(&snapshot->last);
    for (size_t i = 0; i < SNAPSHOT_QUESTIONS; i++)
        free(snapshot->questions[i].runs);
    monitor_release(&snapshot->monitor);
    free(snapshot);
}

struct snapshot *snapshot_start(const struct snapshot_ports *ports, int done_fd, struct error *err)
{
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);

    if (!snapshot) {
        (void)error_no_memory(err);
        return NULL;
    }
    snapshot->ports = ports;
    snapshot->done_fd = done_fd;
    monitor_init(&snapshot->monitor);
    int failed = pthread_create(&snapshot->thread, NULL, keep_reading, snapshot);
    if (failed) {
        release(snapshot);
        (void)error_set(err, ERROR_FATAL, "no thread for the status page (error %d)", failed);
        return NULL;
    }
    return snapshot;
}

void snapshot_free(struct snapshot *snapshot)
{
    if (!snapshot)
        return;
    monitor_enter(&snapshot->monitor);
    snapshot->stop = true;
    monitor_notify(&snapshot->monitor);
    monitor_leave(&snapshot->monitor);
    (void)pthread_join(snapshot->thread, NULL);
    release(snapshot);
}

bool snapshot_want(struct snapshot *snapshot)
{
    monitor_enter(&snapshot->monitor);
    int64_t tried_ms = snapshot->last.tried_ms;
    bool fresh = tried_ms > 0 && clock_ms() - tried_ms < SNAPSHOT_FRESH_MS;
    if (!fresh && !snapshot->wanted) {
        snapshot->wanted = true;
        monitor_notify(&snapshot->monitor);
    }
    monitor_leave(&snapshot->monitor);
    return fresh;
}

static struct question *find_question(struct snapshot *snapshot, const struct list_filter *filter)
{
    for (size_t i = 0; i < SNAPSHOT_QUESTIONS; i++) {
        struct question *question = &snapshot->questions[i];

        if ((question->wanted || question->tried_ms > 0) &&
            list_filter_is_same(&question->filter, filter))
            return question;
    }
    return NULL;
}

/* Replaces the one that was answered longest ago; NULL: all are wanted. */
static struct question *add_question(struct snapshot *snapshot, const struct list_filter *filter)
{
    struct question *oldest = NULL;

    for (size_t i = 0; i < SNAPSHOT_QUESTIONS; i++) {
        struct question *question = &snapshot->questions[i];

        if (!question->wanted && (!oldest || question->tried_ms < oldest->tried_ms))
            oldest = question;
    }
    if (!oldest)
        return NULL;
    free(oldest->runs);
    *oldest = (struct question){ .filter = *filter };
    return oldest;
}

bool snapshot_want_runs(struct snapshot *snapshot, const struct list_filter *filter)
{
    monitor_enter(&snapshot->monitor);
    struct question *question = find_question(snapshot, filter);
    if (!question)
        question = add_question(snapshot, filter);
    bool fresh = !question ||
                 (question->tried_ms > 0 && clock_ms() - question->tried_ms < SNAPSHOT_FRESH_MS);
    if (!fresh && !question->wanted) {
        question->wanted = true;
        monitor_notify(&snapshot->monitor);
    }
    monitor_leave(&snapshot->monitor);
    return fresh;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

void snapshot_view(struct snapshot *snapshot, bool with_lists, struct snapshot_view *view)
{
    monitor_enter(&snapshot->monitor);
    *view = snapshot->last;
    view->lists.runs = copy(with_lists ? view->lists.runs : NULL);
    view->lists.exports = copy(with_lists ? view->lists.exports : NULL);
    view->lists.report = copy(with_lists ? view->lists.report : NULL);
    view->lists.freshness = (struct freshness){ .n = 0 };
    monitor_leave(&snapshot->monitor);
}

static bool is_of_use(const struct question *question)
{
    return question && question->runs && clock_ms() - question->tried_ms <= SNAPSHOT_STALE_MS;
}

char *snapshot_runs(struct snapshot *snapshot, const struct list_filter *filter,
                    const char **why_not)
{
    monitor_enter(&snapshot->monitor);
    const struct question *question = find_question(snapshot, filter);
    char *runs = is_of_use(question) ? copy(question->runs) : NULL;
    *why_not = !question            ? "too many questions at once"
               : question->too_slow ? "the database takes too long to answer"
                                    : "the database does not answer";
    monitor_leave(&snapshot->monitor);
    return runs;
}

struct freshness snapshot_freshness(struct snapshot *snapshot)
{
    monitor_enter(&snapshot->monitor);
    struct freshness copied = freshness_copy(&snapshot->last.lists.freshness);
    monitor_leave(&snapshot->monitor);
    return copied;
}

void snapshot_view_release(struct snapshot_view *view)
{
    overview_lists_release(&view->lists);
}

bool snapshot_view_is_current(const struct snapshot_view *view, int64_t now_ms)
{
    return view->read_ms > 0 && now_ms - view->read_ms <= SNAPSHOT_STALE_MS;
}
