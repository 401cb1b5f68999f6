#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/wakeup.h"
#include "tests/unit/diary.h"
#include "worker/export/delivery.h"
#include "worker/export/delivery_loop.h"
#include "worker/export/delivery_wait.h"
#include "worker/export/perform.h"
#include "worker/export/plan.h"
#include "worker/store/late_jobs.h"
#include "worker/store/rate_limit.h"

enum { LEASE_SECONDS = 60, BUDGET_SECONDS = 900, START_MS = 1000000, TURNS_MAX = 20000 };

#define BODY "{\"type\":\"profile\",\"attributes\":{\"email\":\"ada@shop.example\"}}"

/* The world around a delivery: its clock goes on only while the delivery waits. */
static struct {
    int64_t now_ms;
    int turns;
    int64_t stands_still_ms; /* a wait takes so long */
    int64_t renewal_ms;      /* and so long a renewal of the lease, until it is answered */

    int plan_turns; /* that planning takes; -1: it does not begin */
    int plan_left;  /* until it has ended */
    int plans;      /* that were not freed */
    enum plan_outcome plan_outcome;
    struct guards_facts facts;
    int64_t plan_waits_since_ms;

    int batches; /* in the outbox */
    bool has_late_job;
    bool has_left; /* whom an earlier pass planned: the only one */
    bool has_sent_job;
    const char *cancelled_by;
    int64_t drain_at_ms;
    int64_t stop_at_ms;       /* who wants the run is stopped */
    bool stops_when_sent;     /* the same, when the import was sent */
    int64_t process_until_ms; /* of the drain that stops it; 0: it is not one */
    int stop_fd;

    /* Klaviyo. */
    struct pending_request *asked[8];
    size_t n_asked;
    int status; /* of imports; 0: no response at all */
    int usage_status;
} world;

static struct run_control control;
static struct run_metrics run_metrics;

/* ---- fakes ---- */

#define FAKE(type, name, parameters) \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

FAKE(int64_t, clock_ms, (void))
{
    return world.now_ms;
}

static void stop_run(void)
{
    wakeup_signal(world.stop_fd);
    control.drain_ms = world.process_until_ms;
}

FAKE(bool, client_wait,
     (struct client * client UNUSED, int64_t timeout_ms, int wake_fd UNUSED, struct error *err))
{
    world.now_ms += world.stands_still_ms ? world.stands_still_ms : timeout_ms;
    if (world.drain_at_ms && world.now_ms >= world.drain_at_ms)
        control.drain_ms = world.now_ms + 5000;
    if ((world.stop_at_ms && world.now_ms >= world.stop_at_ms) ||
        (world.stops_when_sent && strstr(diary.text, "send:import")))
        stop_run();
    if (world.plan_left > 0)
        world.plan_left--;
    assert_true(++world.turns < TURNS_MAX);
    return diary_goes_well("wait", err);
}

static char *answer_of(const struct pending_request *pending, int *status)
{
    *status = 200;
    switch ((int)pending->endpoint) {
    case ENDPOINT_IMPORT:
        *status = world.status;
        if (world.status != 202)
            return strdup("{\"errors\":[{\"code\":\"throttled\"}]}");
        return strdup("{\"data\":{\"type\":\"profile-bulk-import-job\",\"id\":\"J\",\"attributes\":"
                      "{\"status\":\"queued\",\"failed_count\":null}}}");
    case ENDPOINT_JOB:
        return strdup("{\"data\":{\"type\":\"profile-bulk-import-job\",\"id\":\"J\",\"attributes\":"
                      "{\"status\":\"complete\",\"failed_count\":0}}}");
    case ENDPOINT_USAGE:
        *status = world.usage_status;
        return strdup("{\"errors\":[{\"code\":\"throttled\"}]}");
    case ENDPOINT_LIST:
        return strdup(
            "{\"data\":{\"type\":\"list\",\"id\":\"L\",\"attributes\":{\"name\":\"N\"}}}");
    default:
        return strdup("{\"data\":[],\"links\":{\"next\":null}}");
    }
}

FAKE(bool, client_next, (struct client * client UNUSED, struct response *response))
{
    if (world.n_asked == 0 || world.stops_when_sent)
        return false;
    struct pending_request *pending = world.asked[--world.n_asked];

    *response = RESPONSE_INIT;
    response->tag = pending;
    response->endpoint = pending->endpoint;
    if (pending->endpoint == ENDPOINT_IMPORT && world.status == 0) {
        (void)snprintf(response->why, sizeof response->why, "connection refused");
        return true;
    }
    response->transport = TRANSPORT_ANSWERED;
    response->body = answer_of(pending, &response->status);
    response->body_bytes = strlen(response->body);
    response->content_type = strdup("application/vnd.api+json");
    if (response->status == 429)
        response->retry_after = strdup("60");
    return true;
}

FAKE(void, client_abort_all, (struct client * client UNUSED))
{
    diary_note("abort");
}

FAKE(struct plan *, plan_start, (const struct plan_options *options UNUSED, struct error *err))
{
    diary_note("plan");
    if (world.plan_turns < 0) {
        (void)error_set(err, ERROR_RETRY, "no thread");
        return NULL;
    }
    world.plan_left = world.plan_turns;
    world.plans++;
    return (struct plan *)&world;
}

FAKE(void, plan_free, (struct plan * plan))
{
    world.plans -= plan != NULL;
}

FAKE(bool, plan_has_ended, (const struct plan *plan UNUSED))
{
    return world.plan_left == 0;
}

FAKE(enum plan_outcome, plan_result, (const struct plan *plan UNUSED, struct error *why))
{
    if (world.plan_outcome != PLAN_DONE)
        (void)error_set(why, ERROR_RETRY, "SQLSTATE 42703");
    return world.plan_outcome;
}

FAKE(struct run_counts, plan_counts, (const struct plan *plan UNUSED))
{
    return (struct run_counts){ .read = 1,
                                .selected = 1,
                                .gone = world.has_left,
                                .left = world.has_left,
                                .there = world.has_left };
}

FAKE(int64_t, plan_batches, (const struct plan *plan UNUSED))
{
    return 1;
}

FAKE(struct guards_facts, plan_facts, (struct plan * plan UNUSED))
{
    return world.facts;
}

FAKE(int64_t, plan_waiting_since_ms, (const struct plan *plan UNUSED))
{
    return world.plan_left > 0 ? world.plan_waits_since_ms : 0;
}

FAKE(bool, runs_heartbeat,
     (struct db * db UNUSED, const struct run_task *task UNUSED,
      const struct run_heartbeat *heartbeat, char **cancelled_by, struct error *err))
{
    if (heartbeat->wait_reason != REASON_NONE && heartbeat->wait_logged)
        diary_note("waits:%s", run_reason_name(heartbeat->wait_reason));
    if (world.cancelled_by)
        *cancelled_by = strdup(world.cancelled_by);
    world.now_ms += world.renewal_ms;
    return diary_goes_well("heartbeat", err);
}

FAKE(bool, outbox_sent,
     (struct db * db UNUSED, const struct run_task *task UNUSED, struct outbox_batches *batches,
      struct error *err))
{
    diary_note("adopt");
    if (!diary_goes_well("adopt", err))
        return false;
    batches->n = world.has_sent_job;
    batches->items = calloc(1, sizeof *batches->items);
    *batches->items = (struct outbox_batch){ .batch_id = 1,
                                             .rows = 1,
                                             .bytes = sizeof BODY - 1,
                                             .names_list = true,
                                             .job_id = strdup("J") };
    if (!world.has_sent_job)
        free(batches->items->job_id);
    return true;
}

FAKE(bool, outbox_mark_unposted,
     (struct db * db UNUSED, const struct run_task *task UNUSED, int64_t batch_id,
      struct error *err))
{
    diary_note("unposted:%d", (int)batch_id);
    return diary_goes_well("unposted", err);
}

FAKE(bool, late_jobs_load,
     (struct db * db UNUSED, const struct run_task *task UNUSED, int64_t unknown_ms UNUSED,
      struct late_jobs *jobs, struct error *err))
{
    if (!diary_goes_well("late", err))
        return false;
    jobs->n = world.has_late_job;
    jobs->items = calloc(1, sizeof *jobs->items);
    if (world.has_late_job)
        *jobs->items = (struct late_job){ .late_job_id = 5, .job_id = strdup("J") };
    return true;
}

FAKE(bool, rate_limit_release, (struct db * db UNUSED, int64_t permit_id UNUSED, struct error *err))
{
    return diary_goes_well("release", err);
}

static void fetch_planned(struct effect_result *result)
{
    result->batches.n = (size_t)world.batches;
    result->batches.items = calloc(1, sizeof *result->batches.items);
    *result->batches.items = (struct outbox_batch){
        .batch_id = 1, .rows = 1, .bytes = sizeof BODY - 1, .names_list = true
    };
    world.batches = 0;
}

FAKE(bool, perform,
     (const struct performer *performer UNUSED, const struct effect *effect,
      struct effect_result *result, struct error *err))
{
    const char *name = effect_name(effect->kind);

    if (effect->kind == EFFECT_SEND)
        diary_note("send:%s", endpoint_name(effect->endpoint));
    else
        diary_note("%s", name);
    if (!diary_goes_well(name, err))
        return false;
    if (effect->kind == EFFECT_FETCH_PLANNED)
        fetch_planned(result);
    else if (effect->kind == EFFECT_LOAD_BODY)
        strbuf_add_str(effect->body, BODY);
    else if (effect->kind == EFFECT_SEND) {
        world.asked[world.n_asked++] = effect->pending;
        result->sent = EFFECT_SENT;
    }
    return true;
}

/* ---- the cases ---- */

static const struct settings settings = { .lease_seconds = LEASE_SECONDS,
                                          .retry_budget_seconds = BUDGET_SECONDS,
                                          .request_timeout_seconds = 30,
                                          .poll_interval_min_ms = 1000,
                                          .poll_interval_max_ms = 5000 };

static void world_begin(const char *failing)
{
    diary_begin(failing);
    memset(&control, 0, sizeof control);
    memset(&run_metrics, 0, sizeof run_metrics);
    memset(&world, 0, sizeof world);
    world.now_ms = START_MS;
    world.plan_turns = 1;
    world.batches = 1;
    world.status = 202;
    world.facts = (struct guards_facts){ .expected = 1,
                                         .seen = 1,
                                         .read_all = true,
                                         .read = 1,
                                         .distinct = 1,
                                         .fresh = 1,
                                         .plan = GUARDS_UNKNOWN,
                                         .flows = GUARDS_UNKNOWN };
}

static char export_name[] = "news", connection_name[] = "shop", list_id[] = "L", account[] = "A";

static struct run_task new_task(void)
{
    return (struct run_task){ .run_id = 7,
                              .epoch = 1,
                              .max_profiles = 100,
                              .list_known = true,
                              .export_name = export_name,
                              .connection_name = connection_name,
                              .list_id = list_id,
                              .account = account,
                              .guards = { .max_invalid_percent = 20, .last_distinct = -1 } };
}

static struct delivery_loop_result run_loop(const struct run_task *task)
{
    struct delivery_loop_result result = { .outcome = DELIVERY_LOOP_DRAINED };
    const struct delivery_loop_options options = { .settings = &settings,
                                                   .task = task,
                                                   .control = &control,
                                                   .run_metrics = &run_metrics,
                                                   .wakeup_fd = -1,
                                                   .taken_ms = world.now_ms,
                                                   .stop_fd = &world.stop_fd };
    struct error err = ERROR_INIT;

    world.stop_fd = wakeup_open(&err);
    delivery_loop_run(&options, &result);
    (void)close(world.stop_fd);
    assert_int_equal(world.plans, 0);
    return result;
}

static bool did(const char *what)
{
    return strstr(diary.text, what) != NULL;
}

static void a_batch_is_planned_sent_polled_and_confirmed(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_DONE);
    assert_string_equal(diary.text, "plan fetch load send:import mark_sent "
                                    "send:job confirm abort");
}

/* The first failure of a write ends the delivery, and says whose the run is. */
static void whatever_fails_ends_the_delivery(void **state)
{
    static const char *const calls[] = { "heartbeat", "late", "release", "wait", "load",
                                         "mark_sent", "send", "confirm", "fetch" };

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct run_task task = new_task();

        world_begin(calls[i]);
        struct delivery_loop_result result = run_loop(&task);
        assert_int_equal(result.outcome, DELIVERY_LOOP_RELINQUISHED);
        assert_int_equal(result.relinquish_kind, ERROR_LOST);
        assert_int_equal(run_metrics.leases_lost, 1);
    }
}

static void what_the_plan_comes_to_decides_the_run(void **state)
{
    static const struct {
        int turns;
        enum plan_outcome outcome;
        enum delivery_loop_outcome delivered;
        enum run_reason reason;
    } cases[] = {
        { 1, PLAN_SOURCE_UNREADABLE, DELIVERY_LOOP_FAILED, REASON_SOURCE_UNREADABLE },
        { 1, PLAN_INTERRUPTED, DELIVERY_LOOP_RELINQUISHED, REASON_NONE },
        { -1, PLAN_DONE, DELIVERY_LOOP_RELINQUISHED, REASON_NONE },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run_task task = new_task();

        world_begin(NULL);
        world.plan_turns = cases[i].turns;
        world.plan_outcome = cases[i].outcome;
        struct delivery_loop_result result = run_loop(&task);
        assert_int_equal(result.outcome, cases[i].delivered);
        assert_int_equal(result.reason, cases[i].reason);
        assert_false(did("send:"));
    }
}

static void a_guard_ends_the_run_before_its_first_request(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    task.max_profiles = 0;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_FAILED);
    assert_int_equal(result.reason, REASON_OVER_PROFILE_LIMIT);
    assert_true(result.detail[0] != '\0');
    assert_false(did("send:"));
}

/* What it counted is in the database then. */
static void a_guard_ends_no_run_that_is_still_planned(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.plan_turns = 3;
    task.max_profiles = 0;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.reason, REASON_OVER_PROFILE_LIMIT);
    assert_int_equal(world.plan_left, 0);
    assert_false(did("send:"));
}

static void a_plan_without_connections_waits_for_the_database(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.plan_turns = 2000; /* seconds: longer than the retry budget */
    world.plan_waits_since_ms = START_MS;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_DONE);
    assert_true(did("waits:database_unavailable"));
}

static void who_cancels_a_run_is_named(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.plan_turns = 100;
    world.cancelled_by = "ada";
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_CANCELLED);
    assert_int_equal(result.reason, REASON_CANCELLED_BY);
    assert_string_equal(result.detail,
                        "cancelled by ada; 0 rows had been accepted since the run was last taken");
}

static void a_worker_that_stood_still_sends_nothing_more(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.stands_still_ms = LEASE_SECONDS * 1000 + 1;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_RELINQUISHED);
    assert_int_equal(result.relinquish_kind, ERROR_LOST);
    assert_string_equal(diary.text, "plan abort abort");
}

/* For the database it began before. */
static void a_lease_counts_from_before_its_renewal_was_sent(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.plan_turns = 100;
    world.renewal_ms = LEASE_SECONDS * 1000 - 500;
    world.stands_still_ms = 1000;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_RELINQUISHED);
    assert_int_equal(result.relinquish_kind, ERROR_LOST);
    assert_true(did("abort"));
}

static void a_run_is_not_parked_while_its_members_are_read(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.status = 429;
    world.plan_turns = 20;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_PARKED);
    assert_int_equal(world.plan_left, 0);
}

static void a_process_that_ends_gives_the_run_back(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.plan_turns = 100;
    world.drain_at_ms = START_MS + 3000;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DRAINED);
    assert_true(world.now_ms < START_MS + 10000);

    world_begin(NULL);
    control.cut_off = true;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DRAINED);
    assert_int_equal(world.turns, 0);
}

static void a_run_that_nobody_wants_any_more_is_given_back(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.plan_turns = 100;
    world.stop_at_ms = START_MS + 3000;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DRAINED);
    assert_true(world.now_ms < START_MS + 10000);
}

/* How long it waits for the answer to its import; process_ms: how long the process does. */
static int64_t waits_for_answer_ms(int64_t process_ms)
{
    struct run_task task = new_task();

    world_begin(NULL);
    world.stops_when_sent = true;
    world.process_until_ms = process_ms ? START_MS + process_ms : 0;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DRAINED);
    return world.now_ms - START_MS;
}

static void its_answers_are_waited_for_some_seconds_or_for_as_long_as_the_process_does(void **state)
{
    (void)state;
    int64_t alone_ms = waits_for_answer_ms(0);
    assert_true(alone_ms >= 5000 && alone_ms < 10000);
    assert_true(waits_for_answer_ms(20000) >= 20000);
}

static void a_run_that_waits_for_a_limit_frees_its_slot(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.status = 429;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_PARKED);
    assert_true(result.parking.park_ms > 3000 && result.parking.park_ms <= 60000);
    assert_int_equal(result.parking.idle_ms, 0); /* a limit costs no budget */
    assert_false(result.parking.plan_again);
    assert_string_equal(result.parking.trouble, "Klaviyo answered 429 throttled to import");
    assert_true(did("waits:rate_limited"));
    assert_true(did("unposted:1"));
    assert_int_equal(run_metrics.throttled, 1);
}

static void a_run_whose_guard_waits_for_klaviyo_frees_its_slot_and_is_planned_again(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    task.guards.plan = GUARD_PLAN_STOP;
    world.usage_status = 429;
    struct delivery_loop_result result = run_loop(&task);
    assert_int_equal(result.outcome, DELIVERY_LOOP_PARKED);
    assert_int_equal(result.parking.park_ms, 60000);
    assert_int_equal(result.parking.idle_ms, 0);
    assert_true(result.parking.plan_again);
    assert_true(did("send:usage"));
    assert_false(did("send:import"));
}

/* It is taken again and again: each time the budget goes on from where it stood. */
static void a_klaviyo_that_stays_away_uses_up_the_retry_budget(void **state)
{
    struct run_task task = new_task();
    struct delivery_loop_result result = { .outcome = DELIVERY_LOOP_DONE };
    char trouble[256];

    (void)state;
    for (int takes = 0; takes < 1000; takes++) {
        world_begin(NULL);
        world.status = 0;
        result = run_loop(&task);
        if (result.outcome != DELIVERY_LOOP_PARKED)
            break;
        task.resume.planned = true;
        task.resume.wait_reason = REASON_KLAVIYO_UNAVAILABLE;
        task.resume.attempts = result.parking.attempts;
        (void)snprintf(trouble, sizeof trouble, "%s", result.parking.trouble);
        task.resume.trouble = trouble;
        task.resume.idle_ms += world.now_ms - START_MS + result.parking.idle_ms;
    }
    assert_int_equal(result.outcome, DELIVERY_LOOP_FAILED);
    assert_int_equal(result.reason, REASON_RETRY_BUDGET_USED_UP);
    assert_string_equal(result.detail, "no progress for 900 s; last: no answer of Klaviyo to "
                                       "import: connection refused");
}

/* Whom an earlier pass planned, and who left since, is no member of it: its segment is empty. */
static void nobody_is_taken_off_for_a_segment_that_is_empty_now(void **state)
{
    (void)state;
    for (int parked = 0; parked <= 1; parked++) {
        struct run_task task = new_task();

        world_begin(NULL);
        world.has_left = true;
        task.removes_leavers = task.account_known = true;
        task.resume.planned = parked;
        task.resume.left = task.resume.there = 1;
        struct delivery_loop_result result = run_loop(&task);
        assert_int_equal(result.outcome, DELIVERY_LOOP_DONE);
        assert_int_equal(result.reason, REASON_REMOVALS_WITHHELD);
        assert_false(did("claim"));
    }
}

static void a_parked_run_goes_on_without_planning(void **state)
{
    static const enum run_reason reasons[] = { REASON_RATE_LIMITED, REASON_KLAVIYO_UNAVAILABLE,
                                               REASON_LIST_IN_USE };

    (void)state;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        struct run_task task = new_task();

        world_begin(NULL);
        task.resume.planned = true;
        task.resume.wait_reason = reasons[i];
        assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DONE);
        assert_false(did("plan "));
        assert_true(did("confirm"));
    }
}

static void jobs_of_an_earlier_owner_are_polled_first(void **state)
{
    struct run_task task = new_task();

    (void)state;
    task.taken_over = true;
    task.epoch = 2;
    world_begin("adopt");
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_RELINQUISHED);

    world_begin(NULL);
    world.has_sent_job = true;
    world.batches = 0;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DONE);
    assert_true(did("adopt"));
    assert_false(did("send:import"));
    assert_true(did("confirm"));
}

static void nothing_is_planned_while_a_late_job_may_overwrite_it(void **state)
{
    struct run_task task = new_task();

    (void)state;
    world_begin(NULL);
    world.has_late_job = true;
    assert_int_equal(run_loop(&task).outcome, DELIVERY_LOOP_DONE);
    const char *settled = strstr(diary.text, "settle_late_job");
    const char *planned = strstr(diary.text, "plan ");
    assert_true(settled && planned && settled < planned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_planned_sent_polled_and_confirmed),
        cmocka_unit_test(whatever_fails_ends_the_delivery),
        cmocka_unit_test(what_the_plan_comes_to_decides_the_run),
        cmocka_unit_test(a_guard_ends_the_run_before_its_first_request),
        cmocka_unit_test(a_guard_ends_no_run_that_is_still_planned),
        cmocka_unit_test(a_plan_without_connections_waits_for_the_database),
        cmocka_unit_test(who_cancels_a_run_is_named),
        cmocka_unit_test(a_worker_that_stood_still_sends_nothing_more),
        cmocka_unit_test(a_lease_counts_from_before_its_renewal_was_sent),
        cmocka_unit_test(a_run_is_not_parked_while_its_members_are_read),
        cmocka_unit_test(a_process_that_ends_gives_the_run_back),
        cmocka_unit_test(a_run_that_nobody_wants_any_more_is_given_back),
        cmocka_unit_test(
            its_answers_are_waited_for_some_seconds_or_for_as_long_as_the_process_does),
        cmocka_unit_test(a_run_that_waits_for_a_limit_frees_its_slot),
        cmocka_unit_test(a_run_whose_guard_waits_for_klaviyo_frees_its_slot_and_is_planned_again),
        cmocka_unit_test(a_klaviyo_that_stays_away_uses_up_the_retry_budget),
        cmocka_unit_test(nobody_is_taken_off_for_a_segment_that_is_empty_now),
        cmocka_unit_test(a_parked_run_goes_on_without_planning),
        cmocka_unit_test(jobs_of_an_earlier_owner_are_polled_first),
        cmocka_unit_test(nothing_is_planned_while_a_late_job_may_overwrite_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
