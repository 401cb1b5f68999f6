#include "worker/service/wiring.h"

#include "worker/http/endpoints.h"
#include "worker/outcome/outcome_sender.h"
#include "worker/service/database_probe.h"
#include "worker/service/housekeeping.h"
#include "worker/service/service.h"
#include "worker/service/shutdown_deadline.h"
#include "worker/store/db.h"
#include "worker/store/events.h"
#include "worker/task/task_runner.h"

/* Intake's database: one connection, reopened when it breaks. */
struct database {
    const char *topic; /* whose events these are; NULL where no events are taken in */
    struct db_options options;
    struct db *db;
    struct slots *slots;   /* woken when there may be a run to take */
    bool outcomes_are_off; /* a trigger writes them all the same, and nobody sends them */
};

static bool connect_database(void *opaque, struct error *err)
{
    struct database *database = opaque;
    struct error ignored = ERROR_INIT;

    if (!db_open(&database->db, &database->options, err))
        return false;
    /* Behind some poolers there are no notifications: then ticks do. */
    (void)!db_listen(database->db, DB_CHANNEL_RUNS, &ignored);
    return true;
}

static void disconnect_database(void *opaque)
{
    struct database *database = opaque;

    db_free(database->db);
    database->db = NULL;
}

static bool any_is_open(const struct event_row_result *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (out[i].state == EVENT_ROW_OPEN)
            return true;
    return false;
}

static enum events_accepted accept_events(void *opaque, const struct event_row *in, size_t n,
                                          bool one_by_one, struct event_row_result *out,
                                          struct error *err)
{
    struct database *database = opaque;
    enum events_accepted accepted = events_accept(database->db, in, n, one_by_one, out, err);

    if (accepted == EVENTS_ACCEPTED && any_is_open(out, n))
        slots_wake(database->slots);
    return accepted;
}

static bool ended_events(void *opaque, const struct event_key *keys, size_t n,
                         struct event_row_ends *ends, struct error *err)
{
    struct database *database = opaque;

    return events_ended(database->db, &(struct event_keys){ database->topic, keys, n }, ends, err);
}

static bool mark_events(void *opaque, const struct event_key *keys, size_t n, bool at_once,
                        bool *held, struct error *err)
{
    struct database *database = opaque;

    return events_mark_dead_lettered(database->db, &(struct event_keys){ database->topic, keys, n },
                                     at_once, held, err);
}

static bool name_lock_holder(void *opaque, struct lock_holder *holder, struct error *err)
{
    struct database *database = opaque;

    return events_lock_holder(database->db, holder, err);
}

/* A connection of its own, for a moment. */
static bool probe_database(void *opaque, struct error *err)
{
    const struct database *database = opaque;
    CLEANUP(db_freep) struct db *db = NULL;

    return db_open(&db, &database->options, err);
}

static int database_socket(void *opaque)
{
    struct database *database = opaque;

    return db_socket(database->db);
}

static bool database_notified(void *opaque)
{
    struct database *database = opaque;

    if (db_notified(database->db)) /* also of what other workers took in */
        slots_wake(database->slots);
    return db_is_up(database->db);
}

/* What runs besides the control loop, each on threads of its own; NULL: not started. */
struct background_threads {
    struct database_probe *probe;
    struct housekeeping *housekeeping;
    struct outcome_sender *sender;
    struct slots *slots;       /* runs */
    struct task_runner *tasks; /* of people */
};

static void drain(void *opaque, int64_t deadline_ms)
{
    const struct background_threads *threads = opaque;

    slots_drain(threads->slots, deadline_ms);
    task_runner_drain(threads->tasks);
}

static void cancel_slots(void *opaque)
{
    const struct background_threads *threads = opaque;

    slots_cancel(threads->slots);
}

static int busy_slots(void *opaque)
{
    const struct background_threads *threads = opaque;

    return slots_busy(threads->slots);
}

static struct task_runner *start_tasks(const struct slots_options *options, struct error *err)
{
    const struct task_context context = { .settings = options->settings,
                                          .pair = options->pair,
                                          .worker = options->worker,
                                          .control = options->control,
                                          .run_metrics = options->run_metrics };

    return task_runner_start(&context, options->key_pair_id, err);
}

/* The status page's database: a connection of its own, opened when it is needed. */
static bool reach(struct database *database, struct error *err)
{
    return database->db ? db_ready(database->db, err)
                        : db_open(&database->db, &database->options, err);
}

static bool read_overview(void *opaque, struct overview *overview, struct overview_lists *lists,
                          struct error *err)
{
    struct database *database = opaque;

    if (!reach(database, err) || !overview_read(database->db, overview, lists, err))
        return false;
    if (database->outcomes_are_off)
        overview->oldest_outcome_s = 0;
    return true;
}

static bool read_overview_runs(void *opaque, const struct history_filter *filter, char **runs,
                               struct error *err)
{
    struct database *database = opaque;

    return reach(database, err) && overview_runs(database->db, filter, runs, err);
}

static bool overview_was_too_slow(void *opaque)
{
    const struct database *database = opaque;

    return database->db && db_was_cancelled(database->db);
}

static bool start_endpoints(const struct slots_options *options, struct service_metrics *metrics,
                            struct database *database, struct endpoints **endpoints,
                            struct error *err)
{
    const struct endpoints_options how = { .listen = options->settings->http_listen,
                                           .hosts = options->settings->http_hosts,
                                           .worker = options->worker,
                                           .all_slots = options->settings->max_runs,
                                           .metrics = metrics,
                                           .runs = options->control,
                                           .run_metrics = options->run_metrics,
                                           .database = { .opaque = database,
                                                         .read = read_overview,
                                                         .read_runs = read_overview_runs,
                                                         .was_too_slow = overview_was_too_slow,
                                                         .disconnect = disconnect_database } };

    return endpoints_start(&how, endpoints, err);
}

/* *sender is NULL where outcomes are turned off. */
static bool start_outcomes(const struct settings *settings, struct service_metrics *metrics,
                           struct outcome_sender **sender, struct error *err)
{
    *sender = NULL;
    if (!*settings->kafka_outcome_topic)
        return true;
    *sender = outcome_sender_start(settings, metrics, err);
    return *sender != NULL;
}

static bool start_threads(struct background_threads *threads, const struct slots_options *options,
                          const struct database_probe_ports *probe, struct service_metrics *metrics,
                          struct error *err)
{
    threads->probe = database_probe_start(probe, metrics, err);
    if (!threads->probe)
        return false;
    threads->housekeeping = housekeeping_start(options->settings, err);
    if (!threads->housekeeping ||
        !start_outcomes(options->settings, metrics, &threads->sender, err))
        return false;
    threads->slots = slots_start(options, err);
    if (!threads->slots)
        return false;
    threads->tasks = start_tasks(options, err);
    return threads->tasks != NULL;
}

/* The last one started ends first: what it hands on is taken by those started before. */
static void stop_threads(struct background_threads *threads)
{
    shutdown_deadline_note("tasks");
    task_runner_free(threads->tasks);
    shutdown_deadline_note("run_slots");
    slots_free(threads->slots);
    shutdown_deadline_note("outcome events");
    outcome_sender_free(threads->sender);
    shutdown_deadline_note("the database probe");
    database_probe_free(threads->probe);
    shutdown_deadline_note("housekeeping");
    housekeeping_free(threads->housekeeping);
}

static struct service_ports make_ports(struct database *database,
                                       struct background_threads *threads)
{
    return (struct service_ports){
        .intake = { .opaque = database,
                    .connect = connect_database,
                    .disconnect = disconnect_database,
                    .accept = accept_events,
                    .ended = ended_events,
                    .mark = mark_events,
                    .lock_holder = name_lock_holder,
                    .socket = database_socket,
                    .notified = database_notified },
        .slots = { .opaque = threads, .drain = drain, .cancel = cancel_slots, .busy = busy_slots },
    };
}

static bool serve(const struct slots_options *options, struct service_metrics *metrics,
                  const struct db_options *how, struct error *err)
{
    struct database probed = { .options = *how };
    const struct database_probe_ports probe = { &probed, probe_database };
    CLEANUP(stop_threads) struct background_threads threads = { .probe = NULL };

    if (!start_threads(&threads, options, &probe, metrics, err))
        return false;
    struct database database = { .options = *how,
                                 .topic = options->settings->kafka_topic,
                                 .slots = threads.slots };
    const struct service_ports ports = make_ports(&database, &threads);

    return service_loop(options->settings, &ports, metrics, err);
}

bool service_run(const struct slots_options *options, const struct startup_check *check,
                 struct service_metrics *metrics, struct error *err)
{
    const struct db_options how = { .url = options->settings->database_url,
                                    .name = options->worker,
                                    .service = true };
    struct database shown = { .options = how,
                              .outcomes_are_off = !*options->settings->kafka_outcome_topic };
    CLEANUP(endpoints_freep) struct endpoints *endpoints = NULL;
    bool stopped = false;

    if (!start_endpoints(options, metrics, &shown, &endpoints, err))
        return false;
    switch (startup_wait(check, metrics, err)) {
    case STARTUP_DONE:
        stopped = serve(options, metrics, &how, err);
        break;
    case STARTUP_STOPPED:
        stopped = true;
        break;
    case STARTUP_FAILED:
        break;
    }
    shutdown_deadline_note("endpoints");
    endpoints_free(endpoints_take(&endpoints));
    shutdown_deadline_disarm();
    return stopped;
}
