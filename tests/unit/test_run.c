#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/unit/diary.h"
#include "worker/export/delivery_loop.h"
#include "worker/export/run.h"

/* What the fakes answer. */
static struct {
    struct delivery_loop_result delivered;
    struct run_record record;
    bool marked;
    enum error_kind key_fails; /* NONE: the key opens */
    enum error_kind end_fails; /* NONE: the end is written */
    char logged[256];          /* events */
} world;

void __wrap_delivery_loop_run(const struct delivery_loop_options *options,
                              struct delivery_loop_result *result);
void __wrap_delivery_loop_run(const struct delivery_loop_options *options,
                              struct delivery_loop_result *result)
{
    (void)options;
    diary_note("deliver");
    *result = world.delivered;
}

void __wrap_log_write(enum log_level level, const char *event, const struct log_field *fields);
void __wrap_log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    size_t n = strlen(world.logged);

    (void)level, (void)fields;
    (void)snprintf(world.logged + n, sizeof world.logged - n, "%s ", event);
}

bool __wrap_seal_open(const struct seal_pair *pair, const unsigned char *sealed, size_t n,
                      struct secret *out, struct error *err);
bool __wrap_seal_open(const struct seal_pair *pair, const unsigned char *sealed, size_t n,
                      struct secret *out, struct error *err)
{
    (void)pair, (void)sealed, (void)n, (void)out;
    return world.key_fails == ERROR_NONE || error_set(err, world.key_fails, "the key is broken");
}

struct client *__wrap_client_new(const struct client_options *options, struct error *err);
struct client *__wrap_client_new(const struct client_options *options, struct error *err)
{
    (void)options, (void)err;
    return (struct client *)&world;
}

void __wrap_client_free(struct client *client);
void __wrap_client_free(struct client *client)
{
    if (client)
        diary_note("close");
}

bool __wrap_runs_end(struct db *db, const struct run_task *task, const struct run_ending *ending,
                     struct run_record *record, struct error *err);
bool __wrap_runs_end(struct db *db, const struct run_task *task, const struct run_ending *ending,
                     struct run_record *record, struct error *err)
{
    const char *reason = run_reason_name(ending->reason);

    (void)db, (void)task;
    diary_note("end:%s:%s:%s", run_state_name(ending->state), reason ? reason : "-",
               ending->detail ? ending->detail : "-");
    if (world.end_fails != ERROR_NONE)
        return error_set(err, world.end_fails, "the database is away");
    if (!diary_goes_well("end", err))
        return false;
    *record = world.record;
    return true;
}

bool __wrap_runs_read_ended(struct db *db, const struct run_task *task, struct run_record *record,
                            struct error *err);
bool __wrap_runs_read_ended(struct db *db, const struct run_task *task, struct run_record *record,
                            struct error *err)
{
    (void)db, (void)task;
    diary_note("read-ended");
    if (!diary_goes_well("read-ended", err))
        return false;
    *record = world.record;
    return true;
}

bool __wrap_runs_mark_attention(struct db *db, const struct run_task *task, enum run_reason reason,
                                bool *marked, struct error *err);
bool __wrap_runs_mark_attention(struct db *db, const struct run_task *task, enum run_reason reason,
                                bool *marked, struct error *err)
{
    (void)db, (void)task;
    diary_note("mark:%s", run_reason_name(reason));
    if (!diary_goes_well("mark", err))
        return false;
    *marked = world.marked;
    return true;
}

bool __wrap_runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                           struct error *err);
bool __wrap_runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                           struct error *err)
{
    (void)db, (void)task;
    diary_note("give-back:%d", how);
    return diary_goes_well("give-back", err);
}

bool __wrap_runs_park(struct db *db, const struct run_task *task, const struct run_parking *parking,
                      struct error *err);
bool __wrap_runs_park(struct db *db, const struct run_task *task, const struct run_parking *parking,
                      struct error *err)
{
    (void)db, (void)task;
    diary_note("park:%lld", (long long)parking->park_ms);
    return diary_goes_well("park", err);
}

static struct run_control control;
static struct run_metrics run_metrics;
static const struct settings settings = { .request_timeout_seconds = 30 };
static const struct run_options options = { .settings = &settings,
                                            .control = &control,
                                            .run_metrics = &run_metrics };
static unsigned char sealed[] = "sealed";

static bool execute(enum run_reason waited, unsigned char *key, struct error *err)
{
    struct run_task task = { .run_id = 7,
                             .taken_over = true,
                             .resume = { .wait_reason = waited },
                             .sealed_key = key,
                             .sealed_key_len = sizeof sealed };

    memset(&run_metrics, 0, sizeof run_metrics);
    world.logged[0] = '\0';
    return run_execute(&options, NULL, &task, 0, err);
}

/* What a delivery comes to, and what is written of it. */
static const struct {
    struct delivery_loop_result delivered;
    enum run_state recorded;
    bool marked;
    const char *failing;
    bool ok;
    enum error_kind kind; /* where it is not: LOST, another take has it */
    const char *diary;
} outcomes[] = {
    { { .outcome = DELIVERY_LOOP_DONE },
      RUN_SUCCEEDED,
      false,
      NULL,
      true,
      0,
      "deliver end:succeeded:-:- close" },
    { { .outcome = DELIVERY_LOOP_DONE, .reason = REASON_REMOVALS_WITHHELD, .detail = "9 of 10" },
      RUN_SUCCEEDED,
      false,
      NULL,
      true,
      0,
      "deliver end:succeeded:removals_withheld:9 of 10 close" },
    { { .outcome = DELIVERY_LOOP_DONE },
      RUN_RUNNING,
      false,
      NULL,
      false,
      ERROR_RETRY,
      "deliver end:succeeded:-:- close" },
    { { .outcome = DELIVERY_LOOP_DONE },
      RUN_CANCELLED, /* by a command, since the last heartbeat */
      false,
      "end",
      true,
      0,
      "deliver end:succeeded:-:- close read-ended" },
    { { .outcome = DELIVERY_LOOP_DONE },
      RUN_RUNNING,
      false,
      "end",
      false,
      ERROR_LOST,
      "deliver end:succeeded:-:- close read-ended" },
    { { .outcome = DELIVERY_LOOP_FAILED, .reason = REASON_LIST_GONE, .detail = "gone" },
      RUN_FAILED,
      false,
      NULL,
      true,
      0,
      "deliver end:failed:list_gone:gone close" },
    { { .outcome = DELIVERY_LOOP_FAILED,
        .reason = REASON_KEY_REFUSED,
        .detail = "401",
        .key_refused = true },
      RUN_FAILED,
      true,
      NULL,
      true,
      0,
      "deliver mark:key_refused end:failed:key_refused:401 close" },
    { { .outcome = DELIVERY_LOOP_FAILED, .reason = REASON_KEY_REFUSED, .key_refused = true },
      RUN_FAILED,
      false,
      NULL,
      false,
      ERROR_RETRY,
      "deliver mark:key_refused close" },
    { { .outcome = DELIVERY_LOOP_FAILED, .reason = REASON_KEY_REFUSED, .key_refused = true },
      RUN_RUNNING,
      true,
      "mark",
      false,
      ERROR_LOST,
      "deliver mark:key_refused close read-ended" },
    { { .outcome = DELIVERY_LOOP_CANCELLED, .reason = REASON_CANCELLED_BY, .detail = "by ada" },
      RUN_CANCELLED,
      false,
      NULL,
      true,
      0,
      "deliver end:cancelled:cancelled_by:by ada close" },
    { { .outcome = DELIVERY_LOOP_DRAINED },
      RUN_RUNNING,
      false,
      NULL,
      true,
      0,
      "deliver give-back:0 close" },
    { { .outcome = DELIVERY_LOOP_DRAINED },
      RUN_RUNNING,
      false,
      "give-back",
      false,
      ERROR_LOST,
      "deliver give-back:0 close read-ended" },
    { { .outcome = DELIVERY_LOOP_DRAINED },
      RUN_CANCELLED,
      false,
      "give-back",
      true,
      0,
      "deliver give-back:0 close read-ended" },
    { { .outcome = DELIVERY_LOOP_PARKED, .parking = { .park_ms = 4000 } },
      RUN_RUNNING,
      false,
      NULL,
      true,
      0,
      "deliver park:4000 close" },
    { { .outcome = DELIVERY_LOOP_PARKED, .parking = { .park_ms = 4000 } },
      RUN_CANCELLED,
      false,
      "park",
      true,
      0,
      "deliver park:4000 close read-ended" },
    { { .outcome = DELIVERY_LOOP_RELINQUISHED, .relinquish_kind = ERROR_RETRY },
      RUN_RUNNING,
      false,
      NULL,
      false,
      ERROR_RETRY,
      "deliver close" },
    { { .outcome = DELIVERY_LOOP_RELINQUISHED, .relinquish_kind = ERROR_LOST },
      RUN_CANCELLED,
      false,
      NULL,
      true,
      0,
      "deliver close read-ended" },
    { { .outcome = DELIVERY_LOOP_RELINQUISHED, .relinquish_kind = ERROR_LOST },
      RUN_CANCELLED,
      false,
      "read-ended",
      false,
      ERROR_LOST,
      "deliver close read-ended" },
};

static void each_outcome_of_a_delivery_is_written_as_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
        struct error err = ERROR_INIT;

        diary_begin(outcomes[i].failing);
        world.delivered = outcomes[i].delivered;
        world.record = (struct run_record){ .state = outcomes[i].recorded };
        world.marked = outcomes[i].marked;
        world.key_fails = ERROR_NONE;
        assert_int_equal(execute(REASON_NONE, sealed, &err), outcomes[i].ok);
        assert_int_equal(err.kind, outcomes[i].kind);
        assert_string_equal(diary.text, outcomes[i].diary);
    }
}

static void an_end_that_could_not_be_written_is_not_taken_for_written(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    diary_begin(NULL);
    world.delivered = (struct delivery_loop_result){ .outcome = DELIVERY_LOOP_DONE };
    world.end_fails = ERROR_RETRY;
    assert_false(execute(REASON_NONE, sealed, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_int_equal(run_metrics.runs_ended[RUN_SUCCEEDED], 0);
    world.end_fails = ERROR_NONE;
}

static void what_was_recorded_is_counted_whoever_ended_the_run(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    diary_begin(NULL);
    world.record = (struct run_record){
        .state = RUN_FAILED, .counts = { .read = 12, .selected = 5 }, .accepted = 6, .rejected = 1
    };
    world.delivered = (struct delivery_loop_result){ .outcome = DELIVERY_LOOP_FAILED,
                                                     .reason = REASON_ANSWER_UNEXPECTED };
    world.key_fails = ERROR_NONE;
    assert_true(execute(REASON_NONE, sealed, &err));
    assert_int_equal(run_metrics.runs_ended[RUN_FAILED], 1);
    assert_int_equal(run_metrics.failed[REASON_ANSWER_UNEXPECTED], 1);
    assert_int_equal(run_metrics.members[RUN_METRICS_READ], 12);
    assert_int_equal(run_metrics.members[RUN_METRICS_SELECTED], 7); /* the last count */
    assert_int_equal(run_metrics.runs_taken, 1);
    assert_int_equal(run_metrics.runs_taken_over, 1);

    world.record.state = RUN_CANCELLED; /* by a command, meanwhile */
    world.delivered = (struct delivery_loop_result){ .outcome = DELIVERY_LOOP_RELINQUISHED,
                                                     .relinquish_kind = ERROR_LOST };
    assert_true(execute(REASON_RATE_LIMITED, sealed, &err));
    assert_int_equal(run_metrics.members[RUN_METRICS_READ], 12);
    assert_int_equal(run_metrics.runs_ended[RUN_CANCELLED], 1); /* no other worker tells of it */
    assert_int_equal(run_metrics.runs_taken, 0);                /* it had been parked */
}

/* Between the last heartbeat and the end. */
static void a_run_that_a_command_ends_at_last_is_counted_as_that(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    diary_begin("end");
    world.record =
        (struct run_record){ .state = RUN_CANCELLED, .counts = { .read = 12, .selected = 5 } };
    world.delivered = (struct delivery_loop_result){ .outcome = DELIVERY_LOOP_DONE };
    world.key_fails = ERROR_NONE;
    assert_true(execute(REASON_NONE, sealed, &err));
    assert_int_equal(run_metrics.runs_ended[RUN_CANCELLED], 1);
    assert_int_equal(run_metrics.runs_ended[RUN_SUCCEEDED], 0);
    assert_int_equal(run_metrics.members[RUN_METRICS_READ], 12);
    assert_string_equal(world.logged, "run_taken run_ended ");
}

static void
a_key_that_cannot_be_opened_ends_the_run_and_one_that_may_be_later_does_not(void **state)
{
    static const struct {
        unsigned char *key;
        enum error_kind fails;
        bool ok;
        const char *diary;
    } cases[] = {
        { NULL, ERROR_NONE, true, "end:failed:key_unreadable:the connection has no key" },
        { sealed, ERROR_INPUT, true, "end:failed:key_unreadable:the key is broken" },
        { sealed, ERROR_RETRY, false, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;

        diary_begin(NULL);
        world.record = (struct run_record){ .state = RUN_FAILED };
        world.key_fails = cases[i].fails;
        assert_int_equal(execute(REASON_NONE, cases[i].key, &err), cases[i].ok);
        assert_int_equal(err.kind, cases[i].ok ? ERROR_NONE : cases[i].fails);
        assert_string_equal(diary.text, cases[i].diary);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_outcome_of_a_delivery_is_written_as_it_is),
        cmocka_unit_test(an_end_that_could_not_be_written_is_not_taken_for_written),
        cmocka_unit_test(what_was_recorded_is_counted_whoever_ended_the_run),
        cmocka_unit_test(a_run_that_a_command_ends_at_last_is_counted_as_that),
        cmocka_unit_test(
            a_key_that_cannot_be_opened_ends_the_run_and_one_that_may_be_later_does_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
