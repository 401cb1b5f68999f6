#include "worker/service/figures.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "version_generated.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/service/exposition.h"
#include "worker/service/process.h"

/* A number of the service's or the runs' that stands alone. */
struct plain {
    const char *name;
    const char *help;
    size_t offset; /* of an atomic_llong */
    enum exposition_kind kind;
};

#define SERVICE(member) offsetof(struct service_metrics, member)
#define RUNS(member) offsetof(struct run_control, member)

/* clang-format off */
static const struct plain of_service[] = {
    { "events_received_total", "Events read from Kafka.",
      SERVICE(events_received), EXPOSITION_COUNTER },
    { "events_invalid_total", "Events that could not be understood; each becomes a dead letter.",
      SERVICE(events_invalid), EXPOSITION_COUNTER },
    { "open_events", "Events taken whose end is waited for.",
      SERVICE(events_open), EXPOSITION_GAUGE },
    { "open_events_bytes", "Memory that open events take.",
      SERVICE(events_open_bytes), EXPOSITION_GAUGE },
    { "paused_partitions", "Partitions not read from now because too many events are open.",
      SERVICE(partitions_paused), EXPOSITION_GAUGE },
    { "pauses_total", "Times that a partition was paused.",
      SERVICE(pauses), EXPOSITION_COUNTER },
    { "resumes_total", "Times that a partition was resumed.",
      SERVICE(resumes), EXPOSITION_COUNTER },
    { "rewinds_total", "Times that a partition began again at a lower offset.",
      SERVICE(rewinds), EXPOSITION_COUNTER },
    { "commits_total", "Commits of offsets that the broker confirmed.",
      SERVICE(commits), EXPOSITION_COUNTER },
    { "commit_errors_total", "Commits of offsets that failed.",
      SERVICE(commit_errors), EXPOSITION_COUNTER },
    { "kafka_errors_total", "Errors that the Kafka client reported.",
      SERVICE(kafka_errors), EXPOSITION_COUNTER },
    { "database_errors_total", "Failed attempts to take events into the database.",
      SERVICE(database_errors), EXPOSITION_COUNTER },
    { "dead_letter_retries_total", "Attempts to write a dead letter that failed.",
      SERVICE(dead_letter_retries), EXPOSITION_COUNTER },
    { "dead_letters_without_value_total", "Dead letters written without their value, too large.",
      SERVICE(dead_letters_without_value), EXPOSITION_COUNTER },
    { "loop_ticks_total", "Turns of the control loop.",
      SERVICE(loop_ticks), EXPOSITION_COUNTER },
};

static const struct plain of_runs[] = {
    { "runs_taken_total", "Runs that a slot of this worker took.",
      RUNS(runs_taken), EXPOSITION_COUNTER },
    { "runs_taken_over_total", "Runs taken from a worker that had not renewed its lease.",
      RUNS(runs_taken_over), EXPOSITION_COUNTER },
    { "leases_lost_total", "Runs that this worker had to let go of.",
      RUNS(leases_lost), EXPOSITION_COUNTER },
    { "batches_sent_total", "Batches that Klaviyo made an import job of.",
      RUNS(batches_sent), EXPOSITION_COUNTER },
    { "requests_throttled_total", "Requests that Klaviyo answered with 429.",
      RUNS(throttled), EXPOSITION_COUNTER },
    { "requests_retried_total", "Requests to Klaviyo that had to be made again.",
      RUNS(retries), EXPOSITION_COUNTER },
};

static const struct {
    const char *end;
    size_t offset;
} event_ends[] = {
    { "done", SERVICE(events_done) },           { "ignored", SERVICE(events_ignored) },
    { "tombstone", SERVICE(events_tombstone) }, { "dead_letter", SERVICE(events_dead) },
    { "duplicate", SERVICE(events_duplicate) }, { "dropped", SERVICE(events_dropped) },
};

static const struct {
    const char *kind;
    size_t offset;
} rebalances[] = {
    { "assigned", SERVICE(rebalances_assigned) },
    { "revoked", SERVICE(rebalances_revoked) },
    { "lost", SERVICE(rebalances_lost) },
};
/* clang-format on */

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static int64_t number_at(const void *object, size_t offset)
{
    const atomic_llong *number =
        (const atomic_llong *)(const void *)((const char *)object + offset);

    return atomic_load_explicit(number, memory_order_relaxed);
}

static void write_plain(struct exposition *e, const struct plain *plain, size_t n,
                        const void *object)
{
    for (size_t i = 0; i < n; i++) {
        exposition_family(e, plain[i].name, plain[i].kind, plain[i].help);
        exposition_number(e, NO_LABELS, number_at(object, plain[i].offset));
    }
}

static void write_gauge(struct exposition *e, const char *name, const char *help, int64_t number)
{
    if (number < 0)
        return;
    exposition_family(e, name, EXPOSITION_GAUGE, help);
    exposition_number(e, NO_LABELS, number);
}

static void write_seconds(struct exposition *e, const char *name, enum exposition_kind kind,
                          const char *help, int64_t us)
{
    exposition_family(e, name, kind, help);
    exposition_millionths(e, NO_LABELS, us);
}

static void write_build(struct exposition *e)
{
    exposition_family(e, "build_info", EXPOSITION_GAUGE, "What this worker was built from.");
    exposition_number(
        e, LABELS({ "version", PROJECT_VERSION_TEXT }, { "commit", PROJECT_GIT_COMMIT }), 1);
}

/* ---- the side towards Kafka ---- */

static void write_events(struct exposition *e, const struct service_metrics *service)
{
    exposition_family(e, "events_ended_total", EXPOSITION_COUNTER,
                      "Events whose offset was released, by their end; dropped ones went to "
                      "another worker with their partition.");
    for (size_t i = 0; i < COUNT_OF(event_ends); i++)
        exposition_number(e, LABELS({ "end", event_ends[i].end }),
                          number_at(service, event_ends[i].offset));
    exposition_family(e, "rebalances_total", EXPOSITION_COUNTER,
                      "Changes of this worker's partitions.");
    for (size_t i = 0; i < COUNT_OF(rebalances); i++)
        exposition_number(e, LABELS({ "kind", rebalances[i].kind }),
                          number_at(service, rebalances[i].offset));
}

int64_t figures_lag(const struct service_partition *partition)
{
    int64_t from =
        partition->watermark > partition->committed ? partition->watermark : partition->committed;

    if (partition->end < 0 || from < 0)
        return -1;
    return partition->end > from ? partition->end - from : 0;
}

static int64_t lag_of(const struct service_partition *p)
{
    return figures_lag(p);
}

static int64_t watermark_of(const struct service_partition *p)
{
    return p->watermark;
}

static int64_t committed_of(const struct service_partition *p)
{
    return p->committed;
}

static int64_t end_of(const struct service_partition *p)
{
    return p->end;
}

static int64_t open_of(const struct service_partition *p)
{
    return p->open;
}

static const struct {
    const char *name;
    const char *help;
    int64_t (*of)(const struct service_partition *p);
} of_partition[] = {
    { "partition_lag_events", "Events from the watermark to the partition's end.", lag_of },
    { "partition_watermark_offset", "Every event below it has ended.", watermark_of },
    { "partition_committed_offset", "Offset that the broker confirmed.", committed_of },
    { "partition_end_offset", "End of the partition as last heard.", end_of },
    { "partition_open_events", "Events of the partition that are open.", open_of },
};

static void write_partitions(struct exposition *e, struct service_metrics *service)
{
    struct service_partition partitions[SERVICE_METRICS_PARTITIONS];
    size_t n = service_metrics_partitions(service, partitions, SERVICE_METRICS_PARTITIONS);
    char number[12];

    if (n > SERVICE_METRICS_PARTITIONS)
        n = SERVICE_METRICS_PARTITIONS;
    for (size_t f = 0; f < COUNT_OF(of_partition) && n > 0; f++) {
        exposition_family(e, of_partition[f].name, EXPOSITION_GAUGE, of_partition[f].help);
        for (size_t i = 0; i < n; i++) {
            int64_t value = of_partition[f].of(&partitions[i]);
            (void)snprintf(number, sizeof number, "%" PRId32, partitions[i].partition);
            if (value >= 0)
                exposition_number(e, LABELS({ "partition", number }), value);
        }
    }
    write_gauge(e, "assigned_partitions", "Partitions that are this worker's now.", (int64_t)n);
}

static bool is_among(const char *reason, const struct service_reason *reasons, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(reasons[i].reason, reason) == 0)
            return true;
    return false;
}

static void write_dead_letters(struct exposition *e, struct service_metrics *service)
{
    struct service_reason reasons[SERVICE_METRICS_REASONS];
    size_t n = service_metrics_reasons(service, reasons, SERVICE_METRICS_REASONS);

    exposition_family(e, "dead_letters_total", EXPOSITION_COUNTER,
                      "Dead letters that the broker acknowledged, by reason.");
    for (size_t i = 0; i < n; i++)
        exposition_number(e, LABELS({ "reason", reasons[i].reason }), reasons[i].dead_letters);
    if (!is_among("event_invalid", reasons, n))
        exposition_number(e, LABELS({ "reason", "event_invalid" }), 0);
    for (size_t i = 0; i < TALLY_REASONS; i++)
        if (!is_among(tally_reasons[i], reasons, n))
            exposition_number(e, LABELS({ "reason", tally_reasons[i] }), 0);
}

static void write_loop(struct exposition *e, const struct figures *figures)
{
    const struct service_metrics *service = figures->service;
    int64_t tick_ms = service->loop_last_tick_ms;

    if (tick_ms > 0)
        write_seconds(e, "loop_tick_age_seconds", EXPOSITION_GAUGE,
                      "Time since the control loop's last turn.",
                      (figures->now_ms - tick_ms) * 1000);
    write_seconds(e, "loop_longest_turn_seconds", EXPOSITION_GAUGE,
                  "The longest turn of the control loop since the start.",
                  service->loop_longest_turn_us);
    write_gauge(e, "ready_workers", "1 while this worker is ready, else 0.", figures->ready);
    write_gauge(e, "database_connections",
                "1 while the connection that takes in events is up, else 0.",
                service->database_reached);
}

/* ---- runs ---- */

static void write_ends(struct exposition *e, const struct run_control *runs)
{
    static const char *const states[] = { "succeeded", "succeeded_with_rejections", "failed",
                                          "cancelled" };

    exposition_family(e, "runs_ended_total", EXPOSITION_COUNTER,
                      "Runs that this worker brought to their end, by state.");
    for (size_t i = 0; i < COUNT_OF(states); i++)
        exposition_number(e, LABELS({ "state", states[i] }), runs->runs_ended[i]);
    exposition_family(e, "runs_failed_total", EXPOSITION_COUNTER,
                      "Runs that failed in this worker, by reason.");
    for (size_t i = 0; i < TALLY_REASONS; i++)
        exposition_number(e, LABELS({ "reason", tally_reasons[i] }), runs->tally.failed[i]);
}

static void write_members(struct exposition *e, const struct run_control *runs)
{
    exposition_family(e, "members_total", EXPOSITION_COUNTER,
                      "Members of segments by what became of them; all but accepted and rejected "
                      "are counted when their run is through.");
    for (size_t i = 0; i < TALLY_MEMBERS; i++)
        exposition_number(e, LABELS({ "outcome", tally_member_names[i] }), runs->tally.members[i]);
    exposition_number(e, LABELS({ "outcome", "accepted" }), runs->accepted_rows);
    exposition_number(e, LABELS({ "outcome", "rejected" }), runs->rejected_rows);
}

static void write_slots(struct exposition *e, const struct figures *figures)
{
    int64_t busy = figures->runs->busy_slots;

    exposition_family(e, "run_slots", EXPOSITION_GAUGE, "Run slots of this worker.");
    exposition_number(e, LABELS({ "state", "busy" }), busy);
    exposition_number(e, LABELS({ "state", "free" }), figures->all_slots - busy);
    if (figures->runs->progress_ms > 0)
        write_seconds(e, "progress_age_seconds", EXPOSITION_GAUGE,
                      "Time since the last progress of any run in this worker.",
                      (figures->now_ms - figures->runs->progress_ms) * 1000);
}

static void write_requests(struct exposition *e, const struct tally *tally)
{
    exposition_family(e, "requests_total", EXPOSITION_COUNTER,
                      "Requests to Klaviyo by endpoint and class of the answer's status; none: no "
                      "whole answer came.");
    for (size_t i = 0; i < ENDPOINT_COUNT; i++)
        for (size_t s = 0; s < TALLY_STATUSES; s++)
            exposition_number(e,
                              LABELS({ "endpoint", endpoint_name((enum endpoint)i) },
                                     { "status", tally_status_names[s] }),
                              tally->endpoints[i].by_status[s]);
}

static void write_durations(struct exposition *e, const struct tally *tally)
{
    exposition_family(e, "request_duration_seconds", EXPOSITION_HISTOGRAM,
                      "Time from the start of a request to Klaviyo to its end, by endpoint.");
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        const struct tally_endpoint *endpoint = &tally->endpoints[i];
        int64_t counts[TALLY_BOUNDS + 1];

        for (size_t c = 0; c <= TALLY_BOUNDS; c++)
            counts[c] = endpoint->by_duration[c];
        const struct exposition_histogram histogram = { tally_bounds_ms, counts, TALLY_BOUNDS,
                                                        endpoint->duration_ms };
        exposition_histogram(e, LABELS({ "endpoint", endpoint_name((enum endpoint)i) }),
                             &histogram);
    }
}

static void write_runs(struct exposition *e, const struct figures *figures)
{
    const struct run_control *runs = figures->runs;

    write_plain(e, of_runs, COUNT_OF(of_runs), runs);
    write_ends(e, runs);
    write_members(e, runs);
    write_slots(e, figures);
    write_requests(e, &runs->tally);
    write_durations(e, &runs->tally);
    write_seconds(e, "rate_limit_wait_seconds_total", EXPOSITION_COUNTER,
                  "Time that requests waited for a place in an account's limit.",
                  runs->limit_wait_ms * 1000);
}

/* ---- what the database says: the same in every worker ---- */

static void write_database(struct exposition *e, const struct figures *figures)
{
    const struct snapshot_view *view = figures->database;
    const struct overview *overview = &view->overview;

    if (view->read_ms == 0)
        return;
    write_seconds(e, "snapshot_age_seconds", EXPOSITION_GAUGE,
                  "Age of the figures that come from the database.",
                  (figures->now_ms - view->read_ms) * 1000);
    write_gauge(e, "queued_runs", "Runs of all workers that wait for a slot.", overview->queued);
    write_gauge(e, "running_runs", "Runs of all workers that go on, with those that wait.",
                overview->running);
    write_gauge(e, "waiting_runs", "Running ones that wait for a limit or for a worker.",
                overview->waiting);
    write_gauge(e, "oldest_queued_run_age_seconds", "How long the oldest queued run waits.",
                overview->oldest_queued_s);
    write_gauge(e, "attention_connections",
                "Connections whose key Klaviyo refused: their runs end at once.",
                overview->attention);
}

/* ---- the process, and who asks it ---- */

static void write_process(struct exposition *e, const struct figures *figures)
{
    struct process_usage usage;

    process_usage(&usage);
    if (usage.cpu_us >= 0)
        write_seconds(e, "process_cpu_seconds_total", EXPOSITION_COUNTER,
                      "User and system time of this process.", usage.cpu_us);
    write_gauge(e, "process_resident_memory_bytes", "Memory of this process that is resident.",
                usage.resident_bytes);
    write_gauge(e, "process_virtual_memory_bytes", "Address space of this process.",
                usage.virtual_bytes);
    write_gauge(e, "process_open_fds", "Open file descriptors.", usage.open_fds);
    write_gauge(e, "process_max_fds", "Limit of open file descriptors.", usage.max_fds);
    write_seconds(e, "process_start_time_seconds", EXPOSITION_GAUGE,
                  "When the service of this process started, in seconds since 1970.",
                  figures->started_us);
}

static void write_endpoints(struct exposition *e, const struct http_figures *endpoints)
{
    static const char *const classes[] = { "2xx", "3xx", "4xx", "5xx" };

    exposition_family(e, "http_requests_total", EXPOSITION_COUNTER,
                      "Requests to these endpoints, by class of status.");
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        exposition_number(e, LABELS({ "status", classes[i] }), endpoints->requests[i]);
    write_gauge(e, "http_connections", "Connections to these endpoints.", endpoints->connections);
    exposition_family(e, "http_connections_cut_total", EXPOSITION_COUNTER,
                      "Connections to these endpoints that were cut off, by why.");
    exposition_number(e, LABELS({ "why", "deadline" }), endpoints->cut_late);
    exposition_number(e, LABELS({ "why", "crowded" }), endpoints->cut_crowded);
}

void figures_write(const struct figures *figures, struct strbuf *out)
{
    struct exposition e = { .out = out };

    write_build(&e);
    write_plain(&e, of_service, COUNT_OF(of_service), figures->service);
    write_events(&e, figures->service);
    write_partitions(&e, figures->service);
    write_dead_letters(&e, figures->service);
    write_loop(&e, figures);
    write_runs(&e, figures);
    write_database(&e, figures);
    write_process(&e, figures);
    write_endpoints(&e, &figures->endpoints);
}
