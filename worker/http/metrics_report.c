#include "worker/http/metrics_report.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/version.h"
#include "worker/http/process_usage.h"
#include "worker/http/prometheus_text.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/store/run_state.h"

/* A number of the service's or the runs' that stands alone. */
struct plain {
    const char *name;
    const char *help;
    size_t offset; /* of an atomic_llong */
    enum prometheus_kind kind;
};

#define SERVICE(member) offsetof(struct service_metrics, member)
#define RUNS(member) offsetof(struct run_metrics, member)

/* clang-format off */
static const struct plain of_service[] = {
    { "events_received_total", "Events read from Kafka.",
      SERVICE(events_received), PROMETHEUS_COUNTER },
    { "events_invalid_total", "Events that could not be understood; each becomes a dead letter.",
      SERVICE(events_invalid), PROMETHEUS_COUNTER },
    { "open_events", "Events taken whose end is waited for.",
      SERVICE(events_open), PROMETHEUS_GAUGE },
    { "open_events_bytes", "Memory of events' records that are not in the database yet.",
      SERVICE(events_open_bytes), PROMETHEUS_GAUGE },
    { "paused_partitions", "Partitions not read from now because too many events are open.",
      SERVICE(partitions_paused), PROMETHEUS_GAUGE },
    { "pauses_total", "Times that a partition was paused.",
      SERVICE(pauses), PROMETHEUS_COUNTER },
    { "resumes_total", "Times that a partition was resumed.",
      SERVICE(resumes), PROMETHEUS_COUNTER },
    { "rewinds_total", "Times that a partition began again at a lower offset.",
      SERVICE(rewinds), PROMETHEUS_COUNTER },
    { "commits_total", "Commits of offsets that the broker confirmed.",
      SERVICE(commits), PROMETHEUS_COUNTER },
    { "commit_errors_total", "Commits of offsets that failed.",
      SERVICE(commit_errors), PROMETHEUS_COUNTER },
    { "kafka_errors_total", "Errors that the Kafka client reported.",
      SERVICE(kafka_errors), PROMETHEUS_COUNTER },
    { "database_errors_total", "Failed attempts to take events into the database.",
      SERVICE(database_errors), PROMETHEUS_COUNTER },
    { "dead_letter_retries_total", "Attempts to write a dead letter that failed.",
      SERVICE(dead_letter_retries), PROMETHEUS_COUNTER },
    { "dead_letters_without_value_total", "Dead letters written without their value, too large.",
      SERVICE(dead_letters_without_value), PROMETHEUS_COUNTER },
    { "waiting_dead_letters", "Dead letters that the broker has not acknowledged yet.",
      SERVICE(dead_letters_waiting), PROMETHEUS_GAUGE },
    { "outcomes_sent_total", "Outcome events that the broker acknowledged.",
      SERVICE(outcomes_sent), PROMETHEUS_COUNTER },
    { "outcome_retries_total", "Attempts to send an outcome event that failed.",
      SERVICE(outcome_retries), PROMETHEUS_COUNTER },
    { "events_blocked_total",
      "Attempts to take in or end an event that another session's lock held up.",
      SERVICE(events_blocked), PROMETHEUS_COUNTER },
    { "events_lost_total", "Events whose row and whose record were both gone.",
      SERVICE(events_lost), PROMETHEUS_COUNTER },
    { "events_deleted_unread_total", "Offsets that Kafka's retention deleted before they were read.",
      SERVICE(events_deleted), PROMETHEUS_COUNTER },
    { "loop_ticks_total", "Turns of the control loop.",
      SERVICE(loop_ticks), PROMETHEUS_COUNTER },
};

static const struct plain of_runs[] = {
    { "runs_taken_total", "Runs that a slot of this worker took.",
      RUNS(runs_taken), PROMETHEUS_COUNTER },
    { "runs_taken_over_total", "Runs taken from a worker that had not renewed its lease.",
      RUNS(runs_taken_over), PROMETHEUS_COUNTER },
    { "runs_blocked_total", "Times that another session's lock kept runs from being taken.",
      RUNS(runs_blocked), PROMETHEUS_COUNTER },
    { "leases_lost_total", "Runs that this worker had to give up: their lease was lost.",
      RUNS(leases_lost), PROMETHEUS_COUNTER },
    { "batches_sent_total", "Batches that Klaviyo made an import job of.",
      RUNS(batches_sent), PROMETHEUS_COUNTER },
    { "requests_throttled_total", "Requests that Klaviyo answered with 429.",
      RUNS(throttled), PROMETHEUS_COUNTER },
    { "account_slowed_total", "Times that others' use of an account made us slow down.",
      RUNS(slowed), PROMETHEUS_COUNTER },
    { "requests_retried_total", "Requests to Klaviyo that had to be made again.",
      RUNS(retries), PROMETHEUS_COUNTER },
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

static void write_plain(struct prometheus_text *e, const struct plain *plain, size_t n,
                        const void *object)
{
    for (size_t i = 0; i < n; i++) {
        prometheus_family(e, plain[i].name, plain[i].kind, plain[i].help);
        prometheus_number(e, NO_LABELS, number_at(object, plain[i].offset));
    }
}

static void write_gauge(struct prometheus_text *e, const char *name, const char *help,
                        int64_t number)
{
    if (number < 0)
        return;
    prometheus_family(e, name, PROMETHEUS_GAUGE, help);
    prometheus_number(e, NO_LABELS, number);
}

static void write_seconds(struct prometheus_text *e, const char *name, enum prometheus_kind kind,
                          const char *help, int64_t us)
{
    prometheus_family(e, name, kind, help);
    prometheus_millionths(e, NO_LABELS, us);
}

static void write_build(struct prometheus_text *e)
{
    prometheus_family(e, "build_info", PROMETHEUS_GAUGE, "What this worker was built from.");
    prometheus_number(
        e, LABELS({ "version", version_number() }, { "commit", version_git_commit() }), 1);
}

/* ---- the side towards Kafka ---- */

static void write_events(struct prometheus_text *e, const struct service_metrics *service)
{
    prometheus_family(e, "events_ended_total", PROMETHEUS_COUNTER,
                      "Events whose offset was released, by their end; dropped ones went to "
                      "another worker with their partition.");
    for (size_t i = 0; i < COUNT_OF(event_ends); i++)
        prometheus_number(e, LABELS({ "end", event_ends[i].end }),
                          number_at(service, event_ends[i].offset));
    prometheus_family(e, "rebalances_total", PROMETHEUS_COUNTER,
                      "Changes of this worker's partitions.");
    for (size_t i = 0; i < COUNT_OF(rebalances); i++)
        prometheus_number(e, LABELS({ "kind", rebalances[i].kind }),
                          number_at(service, rebalances[i].offset));
}

int64_t metrics_report_lag(const struct service_partition *partition)
{
    int64_t from =
        partition->watermark > partition->committed ? partition->watermark : partition->committed;

    if (partition->end < 0 || from < 0)
        return -1;
    return partition->end > from ? partition->end - from : 0;
}

static int64_t lag_of(const struct service_partition *p)
{
    return metrics_report_lag(p);
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

static void write_partitions(struct prometheus_text *e, struct service_metrics *service)
{
    struct service_partition partitions[SERVICE_METRICS_PARTITIONS];
    size_t n = service_metrics_partitions(service, partitions, SERVICE_METRICS_PARTITIONS);
    char number[12];

    if (n > SERVICE_METRICS_PARTITIONS)
        n = SERVICE_METRICS_PARTITIONS;
    for (size_t f = 0; f < COUNT_OF(of_partition) && n > 0; f++) {
        prometheus_family(e, of_partition[f].name, PROMETHEUS_GAUGE, of_partition[f].help);
        for (size_t i = 0; i < n; i++) {
            int64_t value = of_partition[f].of(&partitions[i]);
            (void)snprintf(number, sizeof number, "%" PRId32, partitions[i].partition);
            if (value >= 0)
                prometheus_number(e, LABELS({ "partition", number }), value);
        }
    }
    write_gauge(e, "assigned_partitions", "Partitions that are this worker's now.",
                service->partitions_assigned);
}

static bool is_among(const char *reason, const struct service_reason *reasons, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(reasons[i].reason, reason) == 0)
            return true;
    return false;
}

static bool makes_dead_letters(enum run_reason reason)
{
    return run_reason_is_failure(reason) || reason == REASON_EVENT_INVALID;
}

static void write_dead_letters(struct prometheus_text *e, struct service_metrics *service)
{
    struct service_reason reasons[SERVICE_METRICS_REASONS];
    size_t n = service_metrics_reasons(service, reasons, SERVICE_METRICS_REASONS);

    prometheus_family(e, "dead_letters_total", PROMETHEUS_COUNTER,
                      "Dead letters that the broker acknowledged, by reason.");
    for (size_t i = 0; i < n; i++)
        prometheus_number(e, LABELS({ "reason", reasons[i].reason }), reasons[i].dead_letters);
    for (unsigned i = 0; i < RUN_REASONS; i++) {
        const char *name = run_reason_name((enum run_reason)i);

        if (makes_dead_letters((enum run_reason)i) && !is_among(name, reasons, n))
            prometheus_number(e, LABELS({ "reason", name }), 0);
    }
}

static void write_loop(struct prometheus_text *e, const struct metrics_report *report)
{
    const struct service_metrics *service = report->service;
    int64_t tick_ms = service->loop_last_tick_ms;

    if (tick_ms > 0)
        write_seconds(e, "loop_tick_age_seconds", PROMETHEUS_GAUGE,
                      "Time since the control loop's last turn.",
                      (report->now_ms - tick_ms) * 1000);
    write_seconds(e, "loop_longest_turn_seconds", PROMETHEUS_GAUGE,
                  "The longest turn of the control loop since the start.",
                  service->loop_longest_turn_us);
    write_gauge(e, "ready_workers", "1 while this worker is ready, else 0.", report->ready);
    write_gauge(e, "group_members", "1 while this worker is in the consumer group, else 0.",
                report->service->subscribed);
    write_gauge(e, "database_connections",
                "1 while the connection that takes in events is up, else 0.",
                service->database_reached);
}

/* ---- runs ---- */

static void write_ends(struct prometheus_text *e, const struct run_metrics *runs)
{
    prometheus_family(e, "runs_ended_total", PROMETHEUS_COUNTER,
                      "Runs that this worker brought to their end, by state.");
    for (unsigned i = 0; i < RUN_STATES; i++)
        if (run_state_is_end((enum run_state)i))
            prometheus_number(e, LABELS({ "state", run_state_name((enum run_state)i) }),
                              runs->runs_ended[i]);
    prometheus_family(e, "runs_failed_total", PROMETHEUS_COUNTER,
                      "Runs that failed in this worker, by reason.");
    for (unsigned i = 0; i < RUN_REASONS; i++)
        if (run_reason_is_failure((enum run_reason)i))
            prometheus_number(e, LABELS({ "reason", run_reason_name((enum run_reason)i) }),
                              runs->failed[i]);
}

static void write_members(struct prometheus_text *e, const struct run_metrics *runs)
{
    prometheus_family(e, "members_total", PROMETHEUS_COUNTER,
                      "Members of segments by what became of them; all but accepted and rejected "
                      "are counted when their run is through.");
    for (size_t i = 0; i < RUN_METRICS_MEMBERS; i++)
        prometheus_number(e, LABELS({ "outcome", run_metrics_member_names[i] }), runs->members[i]);
    prometheus_number(e, LABELS({ "outcome", "accepted" }), runs->accepted_rows);
    prometheus_number(e, LABELS({ "outcome", "rejected" }), runs->rejected_rows);
}

static void write_slots(struct prometheus_text *e, const struct metrics_report *report)
{
    int64_t busy = report->runs->busy_slots;

    prometheus_family(e, "run_slots", PROMETHEUS_GAUGE, "Run slots of this worker.");
    prometheus_number(e, LABELS({ "state", "busy" }), busy);
    prometheus_number(e, LABELS({ "state", "free" }), report->all_slots - busy);
    if (report->runs->progress_ms > 0)
        write_seconds(e, "progress_age_seconds", PROMETHEUS_GAUGE,
                      "Time since the last progress of any run in this worker.",
                      (report->now_ms - report->runs->progress_ms) * 1000);
}

static void write_requests(struct prometheus_text *e, const struct run_metrics *run_metrics)
{
    prometheus_family(e, "requests_total", PROMETHEUS_COUNTER,
                      "Requests to Klaviyo by endpoint and class of the answer's status; none: no "
                      "whole answer came.");
    for (size_t i = 0; i < ENDPOINT_COUNT; i++)
        for (size_t s = 0; s < RUN_METRICS_STATUSES; s++)
            prometheus_number(e,
                              LABELS({ "endpoint", endpoint_name((enum endpoint)i) },
                                     { "status", run_metrics_status_names[s] }),
                              run_metrics->endpoints[i].by_status[s]);
}

static void write_durations(struct prometheus_text *e, const struct run_metrics *run_metrics)
{
    prometheus_family(e, "request_duration_seconds", PROMETHEUS_HISTOGRAM,
                      "Time from the start of a request to Klaviyo to its end, by endpoint.");
    for (size_t i = 0; i < ENDPOINT_COUNT; i++) {
        const struct run_metrics_endpoint *endpoint = &run_metrics->endpoints[i];
        int64_t counts[RUN_METRICS_BOUNDS + 1];

        for (size_t c = 0; c <= RUN_METRICS_BOUNDS; c++)
            counts[c] = endpoint->by_duration[c];
        const struct prometheus_histogram histogram = { run_metrics_bounds_ms, counts,
                                                        RUN_METRICS_BOUNDS, endpoint->duration_ms };
        prometheus_histogram(e, LABELS({ "endpoint", endpoint_name((enum endpoint)i) }),
                             &histogram);
    }
}

static void write_runs(struct prometheus_text *e, const struct metrics_report *report)
{
    const struct run_metrics *runs = report->run_metrics;

    write_plain(e, of_runs, COUNT_OF(of_runs), runs);
    write_ends(e, runs);
    write_members(e, runs);
    write_slots(e, report);
    write_requests(e, runs);
    write_durations(e, runs);
    write_seconds(e, "rate_limit_wait_seconds_total", PROMETHEUS_COUNTER,
                  "Time that requests waited for a place in an account's limit.",
                  runs->limit_wait_ms * 1000);
}

/* ---- what the database says: the same in every worker ---- */

static void write_waits(struct prometheus_text *e, const struct overview *overview)
{
    prometheus_family(e, "waiting_runs_by_reason", PROMETHEUS_GAUGE,
                      "Runs that cannot continue, by what they wait for; those for a key may be "
                      "queued.");
    prometheus_number(e, LABELS({ "reason", "klaviyo_unavailable" }),
                      overview->waiting_for_klaviyo);
    prometheus_number(e, LABELS({ "reason", "rate_limited" }), overview->waiting_for_limit);
    prometheus_number(e, LABELS({ "reason", "database_unavailable" }),
                      overview->waiting_for_database);
    prometheus_number(e, LABELS({ "reason", "list_in_use" }), overview->waiting_for_list);
    prometheus_number(e, LABELS({ "reason", "key_unreadable" }), overview->waiting_for_key);
}

static void write_successes(struct prometheus_text *e, const struct freshness *freshness)
{
    prometheus_family(e, "export_last_success_timestamp_seconds", PROMETHEUS_GAUGE,
                      "When the last run of the export that succeeded ended; none: none has.");
    for (size_t i = 0; i < freshness->n; i++) {
        const struct export_freshness *item = &freshness->items[i];
        if (item->last_success_us > 0)
            prometheus_millionths(e, LABELS({ "export", item->export_name }),
                                  item->last_success_us);
    }
    prometheus_family(e, "export_changed_timestamp_seconds", PROMETHEUS_GAUGE,
                      "When an export that never succeeded was changed last.");
    for (size_t i = 0; i < freshness->n; i++) {
        const struct export_freshness *item = &freshness->items[i];
        if (item->last_success_us == 0)
            prometheus_millionths(e, LABELS({ "export", item->export_name }), item->changed_us);
    }
}

static void write_freshness(struct prometheus_text *e, const struct freshness *freshness)
{
    write_successes(e, freshness);
    prometheus_family(e, "export_expected_every_seconds", PROMETHEUS_GAUGE,
                      "How often the export is expected to succeed; none: nothing is expected.");
    for (size_t i = 0; i < freshness->n; i++) {
        const struct export_freshness *item = &freshness->items[i];
        if (item->expected_every_s > 0)
            prometheus_number(e, LABELS({ "export", item->export_name }), item->expected_every_s);
    }
    write_gauge(e, "omitted_exports", "Exports without metrics of their own: there are too many.",
                freshness->omitted);
}

static void write_database(struct prometheus_text *e, const struct metrics_report *report)
{
    const struct snapshot_view *view = report->database;
    const struct overview *overview = &view->overview;

    if (view->read_ms == 0)
        return;
    write_seconds(e, "snapshot_age_seconds", PROMETHEUS_GAUGE,
                  "Age of the figures that come from the database.",
                  (report->now_ms - view->read_ms) * 1000);
    write_gauge(e, "queued_runs", "Runs of all workers that wait for a slot.", overview->queued);
    write_gauge(e, "running_runs", "Runs of all workers in progress, waiting ones included.",
                overview->running);
    write_gauge(e, "waiting_runs", "Running ones that wait for a limit or for a worker.",
                overview->waiting);
    write_gauge(e, "oldest_queued_run_age_seconds", "How long the oldest queued run waits.",
                overview->oldest_queued_s);
    write_gauge(e, "oldest_startable_run_age_seconds",
                "How long the oldest queued run waits that no other run holds up.",
                overview->oldest_startable_s);
    write_gauge(e, "attention_connections",
                "Connections that need attention: their runs end at once.", overview->attention);
    write_waits(e, overview);
    write_gauge(e, "oldest_waiting_outcome_age_seconds",
                "How long the oldest outcome event waits for Kafka.", overview->oldest_outcome_s);
    if (report->freshness)
        write_freshness(e, report->freshness);
}

/* ---- the process, and its HTTP clients ---- */

static void write_process(struct prometheus_text *e, const struct metrics_report *report)
{
    struct process_usage usage;

    process_usage(&usage);
    if (usage.cpu_us >= 0)
        write_seconds(e, "process_cpu_seconds_total", PROMETHEUS_COUNTER,
                      "User and system time of this process.", usage.cpu_us);
    write_gauge(e, "process_resident_memory_bytes", "Memory of this process that is resident.",
                usage.resident_bytes);
    write_gauge(e, "process_virtual_memory_bytes", "Address space of this process.",
                usage.virtual_bytes);
    write_gauge(e, "process_open_fds", "Open file descriptors.", usage.open_fds);
    write_gauge(e, "process_max_fds", "Limit of open file descriptors.", usage.max_fds);
    prometheus_family(e, "log_lines_dropped_total", PROMETHEUS_COUNTER,
                      "Lines of the log that stderr did not take in time.");
    prometheus_number(e, NO_LABELS, log_dropped_lines());
    write_seconds(e, "process_start_time_seconds", PROMETHEUS_GAUGE,
                  "When the service of this process started, in seconds since 1970.",
                  report->started_us);
}

static void write_endpoints(struct prometheus_text *e, const struct http_metrics *endpoints)
{
    static const char *const classes[] = { "2xx", "3xx", "4xx", "5xx" };

    prometheus_family(e, "http_requests_total", PROMETHEUS_COUNTER,
                      "Requests to these endpoints, by class of status.");
    for (size_t i = 0; i < COUNT_OF(classes); i++)
        prometheus_number(e, LABELS({ "status", classes[i] }), endpoints->requests[i]);
    write_gauge(e, "http_connections", "Connections to these endpoints.", endpoints->connections);
    prometheus_family(e, "http_connections_cut_total", PROMETHEUS_COUNTER,
                      "Connections to these endpoints that were cut off, by why.");
    prometheus_number(e, LABELS({ "why", "deadline" }), endpoints->cut_late);
    prometheus_number(e, LABELS({ "why", "crowded" }), endpoints->cut_over_capacity);
}

void metrics_report_write(const struct metrics_report *report, struct strbuf *out)
{
    struct prometheus_text e = { .out = out };

    write_build(&e);
    write_plain(&e, of_service, COUNT_OF(of_service), report->service);
    write_events(&e, report->service);
    write_partitions(&e, report->service);
    write_dead_letters(&e, report->service);
    write_loop(&e, report);
    write_runs(&e, report);
    write_database(&e, report);
    write_process(&e, report);
    write_endpoints(&e, &report->endpoints);
}
