#include "tests/simulate/process.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "tests/simulate/connection.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/scale.h"
#include "tests/simulate/trace.h"
#include "worker/ingest/ingest.h"
#include "worker/outcome/outcome_sender.h"
#include "worker/service/slots.h"
#include "worker/store/db.h"

enum {
    PROCESSES_MAX = 64,
    TURN_MS = 400,
    SETTLE_MS = 500,
    CLOSE_MS = 3000,
};

static const struct settings settings = {
    .kafka_config_file = "",
    .kafka_topic = "segment-refresh",
    .kafka_dead_letter_topic = "segment-refresh.dead-letter",
    .kafka_outcome_topic = "segment-export",
    .kafka_group_id = "klaviyo-worker",
    .klaviyo_base_url = "https://klaviyo.example",
    .klaviyo_ca_file = "",
    .max_runs = SLOTS,
    .lease_seconds = LEASE_MS / 1000,
    .drain_seconds = DRAIN_MS / 1000,
    .retry_budget_seconds = RETRY_BUDGET_MS / 1000,
    .request_timeout_seconds = REQUEST_TIMEOUT_MS / 1000,
    .poll_interval_min_ms = POLL_MIN_MS,
    .poll_interval_max_ms = POLL_MAX_MS,
};

/* What a worker is made of. */
struct works {
    struct process *process;
    struct service_metrics metrics;
    struct run_control control;
    struct run_metrics run_metrics;
    struct slots *slots;
    struct outcome_sender *sender;
    struct ingest *ingest;
    struct db *db; /* intake's */
    struct intake_ports ports;
};

static struct process processes[PROCESSES_MAX];
static int n_processes;

void processes_begin(void)
{
    n_processes = 0;
}

/* ---- intake's way to the database, as worker/service/wiring.c has it ---- */

static bool connect_database(void *opaque, struct error *err)
{
    struct works *w = opaque;
    struct error ignored;

    if (!db_open(&w->db, &(struct db_options){ .service = true }, err))
        return false;
    (void)!db_listen(w->db, DB_CHANNEL_RUNS, &ignored);
    return true;
}

static void disconnect_database(void *opaque)
{
    struct works *w = opaque;

    db_free(w->db);
    w->db = NULL;
}

static enum events_accepted accept_events(void *opaque, const struct event_row *in, size_t n,
                                          bool one_by_one, struct event_row_result *out,
                                          struct error *err)
{
    struct works *w = opaque;
    enum events_accepted accepted = events_accept(w->db, in, n, one_by_one, out, err);

    if (accepted == EVENTS_ACCEPTED)
        slots_wake(w->slots);
    return accepted;
}

static bool ended_events(void *opaque, const struct event_key *keys, size_t n,
                         struct event_row_ends *ends, struct error *err)
{
    const struct works *w = opaque;
    struct event_keys all = { settings.kafka_topic, keys, n };

    return events_ended(w->db, &all, ends, err);
}

static bool mark_events(void *opaque, const struct event_key *keys, size_t n, bool at_once,
                        bool *held, struct error *err)
{
    const struct works *w = opaque;
    struct event_keys all = { settings.kafka_topic, keys, n };

    return events_mark_dead_lettered(w->db, &all, at_once, held, err);
}

static bool name_lock_holder(void *opaque, struct lock_holder *holder, struct error *err)
{
    const struct works *w = opaque;

    return events_lock_holder(w->db, holder, err);
}

static int database_socket(void *opaque)
{
    const struct works *w = opaque;

    return db_socket(w->db);
}

static bool database_notified(void *opaque)
{
    const struct works *w = opaque;

    if (db_notified(w->db))
        slots_wake(w->slots);
    return db_is_up(w->db);
}

/* ---- its life ---- */

static void turn(struct works *w)
{
    struct pollfd fds[INGEST_DESCRIPTORS];
    size_t n = ingest_wait_for(w->ingest, fds);
    struct error err = ERROR_INIT;

    (void)poll(fds, n, ingest_has_more(w->ingest) ? 1 : TURN_MS);
    if (!w->process->dead)
        must(ingest_turn(w->ingest, &err), "the ingest gave up: %s", err.text);
}

static void turn_until(struct works *w, int64_t until_ms, bool (*is_over)(struct works *w))
{
    while (!w->process->dead && fiber_now_ms() < until_ms && !is_over(w))
        turn(w);
}

static bool has_no_runs(struct works *w)
{
    return slots_busy(w->slots) == 0;
}

static bool has_no_events(struct works *w)
{
    return ingest_n_open(w->ingest) == 0;
}

static bool has_left(struct works *w)
{
    return ingest_has_left(w->ingest);
}

/* As service.c does it. */
static void stop(struct works *w)
{
    struct error err = ERROR_INIT;
    int64_t until_ms = fiber_now_ms() + DRAIN_MS;

    ingest_stop_intake(w->ingest);
    slots_drain(w->slots, until_ms);
    turn_until(w, until_ms, has_no_runs);
    turn_until(w, fiber_now_ms() + SETTLE_MS, has_no_events);
    if (!w->process->dead && ingest_leave(w->ingest, &err))
        turn_until(w, fiber_now_ms() + CLOSE_MS, has_left);
}

static bool open_works(struct works *w, struct error *err)
{
    struct slots_options options = { .settings = &settings,
                                     .key_pair_id = 1,
                                     .worker = "simulated",
                                     .user_agent = "simulated",
                                     .control = &w->control,
                                     .run_metrics = &w->run_metrics };

    w->ports = (struct intake_ports){
        w,           connect_database, disconnect_database, accept_events,    ended_events,
        mark_events, name_lock_holder, database_socket,     database_notified
    };
    service_metrics_init(&w->metrics);
    w->sender = outcome_sender_start(&settings, &w->metrics, err);
    w->slots = slots_start(&options, err);
    w->ingest = ingest_new(&settings, &w->ports, &w->metrics, err);
    return w->sender && w->slots && w->ingest;
}

static void *live(void *argument)
{
    struct process *process = argument;
    struct works *w = calloc(1, sizeof *w);
    struct error err = ERROR_INIT;

    assert(w);
    w->process = process;
    must(open_works(w, &err), "a worker did not start: %s", err.text);
    while (!process->dead && !process->stopping)
        turn(w);
    if (!process->dead)
        stop(w);
    ingest_free(w->ingest);
    slots_free(w->slots);
    outcome_sender_free(w->sender);
    service_metrics_release(&w->metrics);
    free(w);
    trace("is gone");
    process->over = true;
    return NULL;
}

struct process *process_start(void)
{
    if (n_processes == PROCESSES_MAX)
        return NULL;
    struct process *process = &processes[n_processes++];

    *process = (struct process){ .number = n_processes };
    trace("worker %d starts", process->number);
    (void)fiber_start(process, live, process);
    return process;
}

/* What of it is on its way at this moment may still arrive. */
void process_kill(struct process *process)
{
    trace("worker %d is killed", process->number);
    process->dead = true;
}

void process_freeze(struct process *process, int64_t ms)
{
    trace("worker %d freezes for %d ms", process->number, (int)ms);
    process->frozen_until_ms = fiber_now_ms() + ms;
}

void process_stop(struct process *process)
{
    trace("worker %d is to stop", process->number);
    process->stopping = true;
}

struct process *process_at(int i)
{
    for (int k = 0; k < n_processes; k++)
        if (!processes[k].over && i-- == 0)
            return &processes[k];
    return NULL;
}

int processes_alive(void)
{
    int n = 0;

    for (int k = 0; k < n_processes; k++)
        n += !processes[k].over && !processes[k].dead && !processes[k].stopping;
    return n;
}
