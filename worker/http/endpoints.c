#include "worker/http/endpoints.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/strbuf.h"
#include "common/version.h"
#include "common/wakeup.h"
#include "worker/http/http_server.h"
#include "worker/http/kept_answer.h"
#include "worker/http/list_filter.h"
#include "worker/http/listener.h"
#include "worker/http/liveness.h"
#include "worker/http/metrics_report.h"
#include "worker/http/own_hosts.h"
#include "worker/http/page.h"
#include "worker/http/page_policy.h"
#include "worker/http/prometheus_text.h"
#include "worker/http/readiness.h"

enum { KEEP_MS = 100 /* of answers that take some work */ };

#define TEXT_TYPE "text/plain; charset=utf-8"
#define HTML_TYPE "text/html; charset=utf-8"
#define JSON_TYPE "application/json"

/* What of the database an answer needs. */
enum need { NEEDS_NONE, NEEDS_FRESH };

enum route_name {
    ROUTE_PAGE,
    ROUTE_EXPORT,
    ROUTE_RUN,
    ROUTE_RUNS,
    ROUTE_EXPORTS,
    ROUTE_METRICS,
    ROUTE_LIVEZ,
    ROUTE_READYZ,
    ROUTES
};

struct endpoints {
    struct endpoints_options options;
    int64_t started_ms, started_us;
    int wakeup_fd;
    uint16_t port;
    struct snapshot *snapshot;
    struct http_server *server;
    char page_policy[PAGE_POLICY_BYTES];
    char machine[65];
    struct own_hosts own_hosts;

    /* Of the server's thread. */
    struct kept_answer kept[ROUTES];
    struct liveness_look look;
    struct http_metrics http_metrics;
    struct list_filter filter;
    char argument[LIST_FILTER_TEXT_BYTES]; /* the page's: a name or an id */
};

/* ---- the state of this worker ---- */

static enum readiness readiness_of(const struct endpoints *e)
{
    return readiness_judge(e->options.metrics, clock_ms());
}

static struct liveness_facts liveness_facts(struct endpoints *e)
{
    const struct service_metrics *metrics = e->options.metrics;
    const struct run_control *runs = e->options.runs;
    int64_t now_ms = clock_ms(), loop_ms = metrics->loop_last_tick_ms;
    struct snapshot_view view;

    snapshot_view(e->snapshot, false, &view);
    return (struct liveness_facts){ .now_ms = now_ms,
                                    .started_ms = e->started_ms,
                                    .loop_ms = loop_ms,
                                    .look_ms = liveness_look(&e->look, loop_ms, now_ms),
                                    .intake_ms = metrics->intake_turn_ms,
                                    .run_poll_ms = runs->run_poll_ms,
                                    .progress_ms = runs->progress_ms,
                                    .answer_ms = view.read_ms,
                                    .open_events = metrics->events_open,
                                    .free_slots = e->options.all_slots - runs->busy_slots,
                                    .draining = metrics->draining };
}

/* ---- what each path answers ---- */

static void add_line(struct kept_answer *kept, bool good, const char *line)
{
    kept->status = good ? 200 : 503;
    strbuf_addf(&kept->body, "%s\n", line);
}

static void make_livez(struct endpoints *e, struct kept_answer *kept)
{
    struct liveness_facts facts = liveness_facts(e);
    enum liveness verdict = liveness_judge(&facts);

    if (liveness_is_in_doubt(&facts))
        (void)snapshot_want(e->snapshot); /* the next answer will know */
    add_line(kept, verdict == LIVENESS_ALIVE, liveness_text(verdict));
}

static void make_readyz(struct endpoints *e, struct kept_answer *kept)
{
    enum readiness verdict = readiness_of(e);

    add_line(kept, verdict == READINESS_READY, readiness_text(verdict));
}

static void make_metrics(struct endpoints *e, struct kept_answer *kept)
{
    CLEANUP(freshness_release) struct freshness freshness = snapshot_freshness(e->snapshot);
    struct snapshot_view view;
    struct metrics_report report = { .service = e->options.metrics,
                                     .runs = e->options.runs,
                                     .run_metrics = e->options.run_metrics,
                                     .database = &view,
                                     .freshness = &freshness,
                                     .endpoints = e->http_metrics,
                                     .all_slots = e->options.all_slots,
                                     .now_ms = clock_ms(),
                                     .started_us = e->started_us,
                                     .ready = readiness_of(e) == READINESS_READY };

    snapshot_view(e->snapshot, false, &view);
    metrics_report_write(&report, &kept->body);
    kept->status = 200;
}

static void add_complaint(struct kept_answer *kept, unsigned status, const char *why)
{
    kept->status = status;
    strbuf_addf(&kept->body, "{\"error\": \"%s\"}", why);
}

/* Of the snapshot's runs; the page has more in progress than are among the newest. */
static void add_runs(const struct endpoints *e, struct kept_answer *kept, const char *runs)
{
    if (!list_filter_apply(&e->filter, "export", OVERVIEW_RUNS, runs, &kept->body))
        kept->status = 500;
}

static void add_exports(const struct endpoints *e, struct kept_answer *kept, const char *exports)
{
    if (list_filter_is_empty(&e->filter))
        strbuf_add_str(&kept->body, exports);
    else if (!list_filter_apply(&e->filter, "name", LIST_FILTER_LIMIT_MAX, exports, &kept->body))
        kept->status = 500;
}

static void add_list(const struct endpoints *e, struct kept_answer *kept, enum route_name route,
                     const char *list)
{
    kept->status = 200;
    if (route == ROUTE_RUNS)
        add_runs(e, kept, list);
    else
        add_exports(e, kept, list);
}

static const char *filter_problem(const struct endpoints *e, enum route_name route)
{
    return list_filter_problem(&e->filter,
                               route == ROUTE_RUNS ? LIST_FILTER_OF_RUNS : LIST_FILTER_OF_EXPORTS);
}

static void make_list(struct endpoints *e, struct kept_answer *kept, enum route_name route)
{
    struct snapshot_view view;

    snapshot_view(e->snapshot, true, &view);
    const char *list = route == ROUTE_RUNS ? view.lists.runs : view.lists.exports;
    const char *problem = filter_problem(e, route);
    if (problem)
        add_complaint(kept, 400, problem);
    else if (list && snapshot_view_is_current(&view, clock_ms()))
        add_list(e, kept, route, list);
    else
        add_complaint(kept, 503,
                      view.too_slow ? "the database takes too long to answer"
                                    : "the database does not answer");
    strbuf_add_str(&kept->body, "\n");
    snapshot_view_release(&view);
}

/* Runs other than the newest. */
static void make_asked_runs(struct endpoints *e, struct kept_answer *kept)
{
    const char *why_not;
    char *runs = snapshot_runs(e->snapshot, &e->filter, &why_not);

    if (runs) {
        kept->status = 200;
        strbuf_add_str(&kept->body, runs);
    } else {
        add_complaint(kept, 503, why_not);
    }
    strbuf_add_str(&kept->body, "\n");
    free(runs);
}

/* A question for runs that the lists of the snapshot may not have. */
static bool asks_for_others(const struct endpoints *e)
{
    return !filter_problem(e, ROUTE_RUNS) && !list_filter_is_within(&e->filter, OVERVIEW_RUNS);
}

static void make_runs(struct endpoints *e, struct kept_answer *kept)
{
    if (asks_for_others(e))
        make_asked_runs(e, kept);
    else
        make_list(e, kept, ROUTE_RUNS);
}

static void make_exports(struct endpoints *e, struct kept_answer *kept)
{
    make_list(e, kept, ROUTE_EXPORTS);
}

/* What a page is made of, besides the snapshot. */
struct page_room {
    struct page_facts facts;
    struct service_partition partitions[SERVICE_METRICS_PARTITIONS];
    struct snapshot_view view;
};

static void collect_facts(struct endpoints *e, struct page_room *room)
{
    enum readiness state = readiness_of(e);
    size_t n = service_metrics_partitions(e->options.metrics, room->partitions,
                                          SERVICE_METRICS_PARTITIONS);

    snapshot_view(e->snapshot, true, &room->view);
    room->facts = (struct page_facts){
        .worker = e->options.worker,
        .version = version_number(),
        .state = readiness_text(state),
        .ready = state == READINESS_READY,
        .busy_slots = e->options.runs->busy_slots,
        .all_slots = e->options.all_slots,
        .open_events = e->options.metrics->events_open,
        .letters_waiting = e->options.metrics->dead_letters_waiting,
        .event_blocked_ms = e->options.metrics->event_blocked_ms,
        .run_blocked_ms = e->options.runs->run_blocked_ms,
        .now_ms = clock_ms(),
        .now_us = clock_utc_us(),
        .partitions = room->partitions,
        .n_partitions = n < SERVICE_METRICS_PARTITIONS ? n : SERVICE_METRICS_PARTITIONS,
        .database = &room->view,
    };
}

static void make_page(struct endpoints *e, struct kept_answer *kept)
{
    struct page_room room;
    struct error err = ERROR_INIT;

    collect_facts(e, &room);
    kept->status = page_write(&room.facts, &kept->body, &err) ? 200 : 500;
    snapshot_view_release(&room.view);
}

/* What old lists do not have may exist all the same. */
static unsigned page_status(const struct page_facts *facts, bool ok, bool found)
{
    if (!ok)
        return 500;
    if (found)
        return 200;
    return snapshot_view_is_current(facts->database, facts->now_ms) ? 404 : 503;
}

static void make_export_page(struct endpoints *e, struct kept_answer *kept)
{
    struct page_room room;
    struct error err = ERROR_INIT;
    bool found = false;

    collect_facts(e, &room);
    bool ok = page_write_export(&room.facts, e->argument, &kept->body, &found, &err);
    kept->status = page_status(&room.facts, ok, found);
    snapshot_view_release(&room.view);
}

static void make_run_page(struct endpoints *e, struct kept_answer *kept)
{
    struct page_room room;
    struct error err = ERROR_INIT;
    int64_t run_id = 0;
    bool found = false;

    (void)!parse_int64(e->argument, 1, INT64_MAX, &run_id);
    collect_facts(e, &room);
    bool ok = page_write_run(&room.facts, run_id, &kept->body, &found, &err);
    kept->status = page_status(&room.facts, ok, found);
    snapshot_view_release(&room.view);
}

/* ---- routes ---- */

struct route {
    const char *path;
    bool is_private; /* answered under our own names only */
    const char *type;
    enum need need;  /* of the snapshot: the answer waits for it */
    int64_t keep_ms; /* how long it is given again */
    void (*make)(struct endpoints *e, struct kept_answer *kept);
};

static const struct route routes[ROUTES] = {
    [ROUTE_PAGE] = { "/", true, HTML_TYPE, NEEDS_FRESH, KEEP_MS, make_page },
    [ROUTE_EXPORT] = { "/export", true, HTML_TYPE, NEEDS_FRESH, 0, make_export_page },
    [ROUTE_RUN] = { "/run", true, HTML_TYPE, NEEDS_FRESH, 0, make_run_page },
    [ROUTE_RUNS] = { "/api/runs", true, JSON_TYPE, NEEDS_FRESH, KEEP_MS, make_runs },
    [ROUTE_EXPORTS] = { "/api/exports", true, JSON_TYPE, NEEDS_FRESH, KEEP_MS, make_exports },
    [ROUTE_METRICS] = { "/metrics", false, PROMETHEUS_CONTENT_TYPE, NEEDS_FRESH, KEEP_MS,
                        make_metrics },
    [ROUTE_LIVEZ] = { "/livez", false, TEXT_TYPE, NEEDS_NONE, 0, make_livez },
    [ROUTE_READYZ] = { "/readyz", false, TEXT_TYPE, NEEDS_NONE, 0, make_readyz },
};

/* ROUTES: there is none. */
static size_t find_route(const char *path)
{
    size_t i = 0;

    while (i < ROUTES && strcmp(routes[i].path, path) != 0)
        i++;
    return i;
}

/* Young enough, and nothing was read from the database since. */
static bool is_good(struct endpoints *e, size_t i)
{
    struct snapshot_view view;

    snapshot_view(e->snapshot, false, &view);
    return kept_answer_is_good(&e->kept[i], routes[i].keep_ms, view.tried_ms, clock_ms());
}

static void make(struct endpoints *e, size_t i)
{
    kept_answer_begin(&e->kept[i], clock_ms());
    routes[i].make(e, &e->kept[i]);
    kept_answer_finish(&e->kept[i]);
}

static bool read_filter(const struct http_question *question, struct list_filter *filter)
{
    return http_argument(question, "limit", filter->limit, sizeof filter->limit) &&
           http_argument(question, "export", filter->export_name, sizeof filter->export_name) &&
           http_argument(question, "state", filter->state, sizeof filter->state);
}

/* Reads the arguments of a route that has any. False: one is invalid. */
static bool read_arguments(struct endpoints *e, size_t route, const struct http_question *question)
{
    if (route == ROUTE_RUNS || route == ROUTE_EXPORTS)
        return read_filter(question, &e->filter);
    if (route == ROUTE_RUN || route == ROUTE_EXPORT)
        return http_argument(question, route == ROUTE_RUN ? "id" : "name", e->argument,
                             sizeof e->argument);
    return true;
}

static bool has_what_it_needs(struct endpoints *e, size_t route)
{
    if (route == ROUTE_RUNS && asks_for_others(e))
        return snapshot_want_runs(e->snapshot, &e->filter);
    return routes[route].need == NEEDS_NONE || snapshot_want(e->snapshot);
}

static enum http_asked ask(void *opaque, const struct http_question *question)
{
    struct endpoints *e = opaque;
    size_t i = find_route(question->path);

    if (i == ROUTES)
        return HTTP_UNKNOWN;
    if (routes[i].is_private && !own_hosts_have(&e->own_hosts, question->host))
        return HTTP_MISDIRECTED;
    if (!read_arguments(e, i, question))
        return HTTP_NOW; /* it is refused */
    return has_what_it_needs(e, i) ? HTTP_NOW : HTTP_LATER;
}

static void refuse_argument(struct http_answer *answer)
{
    static const char why[] = "{\"error\": \"an argument is no text, or too long\"}\n";

    *answer = (struct http_answer){
        .status = 400, .type = JSON_TYPE, .policy = CLOSED_POLICY, .body = why, .n = sizeof why - 1
    };
}

static bool is_page(size_t route)
{
    return route == ROUTE_PAGE || route == ROUTE_EXPORT || route == ROUTE_RUN;
}

static void give_answer(void *opaque, const struct http_question *question,
                        const struct http_metrics *metrics, struct http_answer *answer)
{
    struct endpoints *e = opaque;
    size_t i = find_route(question->path);
    struct kept_answer *kept = &e->kept[i];

    e->http_metrics = *metrics;
    if (!read_arguments(e, i, question)) {
        refuse_argument(answer);
        return;
    }
    bool is_special = (i == ROUTE_RUNS || i == ROUTE_EXPORTS) && !list_filter_is_empty(&e->filter);
    if (is_special || !is_good(e, i))
        make(e, i);
    if (is_special)
        kept_answer_forget(kept);
    *answer = (struct http_answer){ .status = kept->status,
                                    .type = routes[i].type,
                                    .policy = is_page(i) ? e->page_policy : CLOSED_POLICY,
                                    .body = kept->body.data ? kept->body.data : "",
                                    .n = kept->body.len };
}

/* ---- beginning and end ---- */

static struct endpoints *endpoints_new(const struct endpoints_options *options, struct error *err)
{
    struct endpoints *e = calloc(1, sizeof *e);

    if (!e) {
        (void)error_no_memory(err);
        return NULL;
    }
    e->options = *options;
    e->started_ms = clock_ms();
    e->started_us = clock_utc_us();
    for (size_t i = 0; i < ROUTES; i++)
        kept_answer_init(&e->kept[i]);
    page_policy(e->page_policy);
    (void)gethostname(e->machine, sizeof e->machine - 1);
    e->own_hosts =
        (struct own_hosts){ options->listen, options->hosts ? options->hosts : "", e->machine };
    e->wakeup_fd = wakeup_open(err);
    if (e->wakeup_fd >= 0)
        return e;
    free(e);
    return NULL;
}

static bool serve_at(struct endpoints *e, struct error *err)
{
    const struct http_ports ports = { .opaque = e, .ask = ask, .answer = give_answer };
    struct listener listener;

    if (!listener_open(&listener, e->options.listen, err))
        return false;
    if (!http_server_start(&e->server, listener.fd, e->wakeup_fd, &ports, err))
        return false;
    e->port = listener.port;
    log_info("http_listening", LOG_STR("address", listener.address),
             LOG_INT("port", listener.port));
    return true;
}

bool endpoints_start(const struct endpoints_options *options, struct endpoints **out,
                     struct error *err)
{
    if (!*options->listen) {
        *out = NULL;
        return true;
    }
    CLEANUP(endpoints_freep) struct endpoints *e = endpoints_new(options, err);
    if (!e)
        return false;
    e->snapshot = snapshot_start(&e->options.database, e->wakeup_fd, err);
    if (!e->snapshot || !serve_at(e, err))
        return false;
    *out = endpoints_take(&e);
    return true;
}

uint16_t endpoints_port(const struct endpoints *e)
{
    return e->port;
}

void endpoints_free(struct endpoints *e)
{
    if (!e)
        return;
    http_server_free(e->server);
    snapshot_free(e->snapshot);
    (void)close(e->wakeup_fd);
    for (size_t i = 0; i < ROUTES; i++)
        kept_answer_release(&e->kept[i]);
    free(e);
}
