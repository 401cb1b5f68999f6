#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/unit/diary.h"
#include "worker/export/perform.h"
#include "worker/store/late_jobs.h"
#include "worker/store/rate_limit.h"
#include "worker/store/rejections.h"

enum { PERMIT = 44 };

/* What the fakes answer. */
static struct {
    struct rate_limit_permit permit;
    struct rate_limit_claim claim; /* what was asked for */
    int64_t pace;
    int64_t released;
    bool starts; /* a request */
} world;

/* ---- the fakes: each notes what it was asked for ---- */

#define FAKE(name, parameters)     \
    bool __wrap_##name parameters; \
    bool __wrap_##name parameters

#define DB struct db *db UNUSED, const struct run_task *task UNUSED

FAKE(outbox_planned,
     (DB, const struct outbox_window *window, struct outbox_batches *batches, struct error *err))
{
    diary_note("planned:%d:%d", (int)window->n_held, (int)window->max);
    *batches = (struct outbox_batches){ .n = 3 };
    return diary_goes_well("planned", err);
}

FAKE(outbox_body, (DB, int64_t batch_id, struct strbuf *body UNUSED, struct error *err))
{
    diary_note("body:%d", (int)batch_id);
    return diary_goes_well("body", err);
}

FAKE(outbox_mark_posted, (DB, int64_t batch_id, struct error *err))
{
    diary_note("posted:%d", (int)batch_id);
    return diary_goes_well("posted", err);
}

FAKE(outbox_mark_sent, (DB, int64_t batch_id, const struct outbox_job *job, struct error *err))
{
    diary_note("sent:%d:%s%s", (int)batch_id, job->job_id, job->unanswered ? "!" : "");
    return diary_goes_well("sent", err);
}

FAKE(outbox_send_again, (DB, int64_t batch_id, const char *late_job, struct error *err))
{
    diary_note("again:%d:%s", (int)batch_id, late_job ? late_job : "-");
    return diary_goes_well("again", err);
}

FAKE(outbox_confirm, (DB, int64_t batch_id, struct refused_rows *refused, struct error *err))
{
    diary_note("confirm:%d:%d+%d", (int)batch_id, (int)refused->n, (int)refused->unidentified);
    return diary_goes_well("confirm", err);
}

FAKE(outbox_split, (DB, struct outbox_split *split, struct error *err))
{
    diary_note("split:%d:%s%s", (int)split->batch_id, split->parts.data,
               split->unanswered ? "!" : "");
    return diary_goes_well("split", err);
}

FAKE(late_job_settle, (DB, int64_t id, struct error *err))
{
    diary_note("settle:%d", (int)id);
    return diary_goes_well("settle", err);
}

FAKE(late_job_leave, (DB, int64_t id, struct error *err))
{
    diary_note("leave:%d", (int)id);
    return diary_goes_well("leave", err);
}

FAKE(runs_store_list_name, (DB, const char *name, struct error *err))
{
    diary_note("list:%s", name);
    return diary_goes_well("list", err);
}

FAKE(rejections_keep_words, (DB, const char *code, const char *detail, struct error *err))
{
    diary_note("words:%s:%s", code, detail);
    return diary_goes_well("words", err);
}

FAKE(leavers_claim_list, (DB, enum list_claim *claim, struct error *err))
{
    diary_note("claim");
    *claim = LIST_CLAIM_SHARED;
    return diary_goes_well("claim", err);
}

FAKE(leavers_release_held, (DB, const struct leavers_window *window,
                            struct leavers_released *released, struct error *err))
{
    diary_note("held:%s:%d", window->after ? window->after : "-", (int)window->max);
    *released = (struct leavers_released){ .n = world.released };
    return diary_goes_well("held", err);
}

FAKE(leavers_fetch,
     (DB, const struct leavers_window *window, struct leaver_chunk *chunk, struct error *err))
{
    diary_note("leavers:%s:%d", window->after ? window->after : "-", (int)window->max);
    *chunk = (struct leaver_chunk){ .n = 2 };
    return diary_goes_well("leavers", err);
}

FAKE(leavers_begin_removal, (DB, struct error *err))
{
    diary_note("removal");
    return diary_goes_well("removal", err);
}

FAKE(leavers_removed, (DB, const struct leaver_chunk *chunk, struct error *err))
{
    diary_note("removed:%d", (int)chunk->n);
    return diary_goes_well("removed", err);
}

FAKE(rate_limit_acquire, (struct db * db UNUSED, const struct rate_limit_claim *claim,
                          struct rate_limit_permit *permit, struct error *err))
{
    diary_note("permit:%s:%s", claim->account, claim->endpoint);
    world.claim = *claim;
    *permit = world.permit;
    return diary_goes_well("permit", err);
}

FAKE(rate_limit_release, (struct db * db UNUSED, int64_t permit_id, struct error *err))
{
    diary_note("release:%d", (int)permit_id);
    return diary_goes_well("release", err);
}

FAKE(rate_limit_slow, (struct db * db UNUSED, const char *account, const char *endpoint UNUSED,
                       int64_t *pace, struct error *err))
{
    diary_note("slow:%s", account);
    *pace = world.pace;
    return diary_goes_well("slow", err);
}

FAKE(rate_limit_block, (struct db * db UNUSED, const char *account UNUSED, const char *endpoint,
                        int64_t wait_ms, struct error *err))
{
    diary_note("block:%s:%d", endpoint, (int)wait_ms);
    return diary_goes_well("block", err);
}

FAKE(client_start, (struct client * client UNUSED, const struct request *request, void *tag UNUSED,
                    struct error *err))
{
    diary_note("start:%s", request->traceparent);
    return world.starts || error_set(err, ERROR_RETRY, "no socket");
}

/* ---- the tests ---- */

static struct run_metrics run_metrics;
static struct lease lease;
static char export_name[] = "news", account[] = "A", traceparent[] = "00-trace";
static const struct run_task task = {
    .run_id = 7, .export_name = export_name, .account = account, .traceparent = traceparent
};
static const struct performer performer = {
    .task = &task, .run_metrics = &run_metrics, .lease = &lease, .timeout_ms = 30000
};

static void begin(const char *failing)
{
    diary_begin(failing);
    memset(&run_metrics, 0, sizeof run_metrics);
    lease_init(&lease, 60000, clock_ms());
    world.permit = (struct rate_limit_permit){ .permit_id = PERMIT };
    world.pace = 50;
    world.released = 1;
    world.starts = true;
}

static struct leaver leavers[] = { { .found = true }, { .kept = true } };
static const struct leaver_chunk chunk = { leavers, 2 };
static const struct {
    struct effect effect;
    const char *diary;
    const char *call; /* that can fail */
} effects[] = {
    { { .kind = EFFECT_MARK_SENT, .batch_id = 3, .job_id = "j", .to = IMPORT_POLL },
      "sent:3:j",
      "sent" },
    { { .kind = EFFECT_MARK_SENT, .batch_id = 3, .job_id = "j", .unanswered = true },
      "sent:3:j!",
      "sent" },
    { { .kind = EFFECT_RESEND, .batch_id = 3, .why = "gone" }, "again:3:-", "again" },
    { { .kind = EFFECT_RESEND, .batch_id = 3, .job_id = "j", .why = "late" },
      "again:3:j",
      "again" },
    { { .kind = EFFECT_SETTLE_LATE_JOB, .late_job_id = 5, .job_id = "j" }, "settle:5", "settle" },
    { { .kind = EFFECT_LEAVE_LATE_JOB, .late_job_id = 5, .job_id = "j" }, "leave:5", "leave" },
    { { .kind = EFFECT_CONFIRM, .batch_id = 3, .n_rows = 4 }, "confirm:3:0+0", "confirm" },
    { { .kind = EFFECT_STORE_LIST_NAME, .list_name = "News" }, "list:News", "list" },
    { { .kind = EFFECT_KEEP_WORDS, .code = "c", .detail = "d" }, "words:c:d", "words" },
    { { .kind = EFFECT_FETCH_PLANNED, .n_held = 2, .max = 3 }, "planned:2:3", "planned" },
    { { .kind = EFFECT_LOAD_BODY, .batch_id = 3 }, "body:3", "body" },
    { { .kind = EFFECT_CLAIM_LIST }, "claim", "claim" },
    { { .kind = EFFECT_RELEASE_HELD, .after = "a@b.cd", .max = 9 }, "held:a@b.cd:9", "held" },
    { { .kind = EFFECT_FETCH_LEAVERS, .max = 9 }, "leavers:-:9", "leavers" },
    { { .kind = EFFECT_FORGET_LEAVERS, .leavers = &chunk }, "removed:2", "removed" },
    { { .kind = EFFECT_BLOCK_ACCOUNT, .endpoint = ENDPOINT_LIST, .wait_ms = 90000 },
      "block:list:90000",
      "block" },
    { { .kind = EFFECT_BLOCK_ACCOUNT, .endpoint = ENDPOINT_LIST, .wait_ms = 9, .throttled = true },
      "block:list:9 slow:A",
      "slow" },
};

static void each_effect_is_one_write_and_what_fails_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof effects / sizeof effects[0]; i++) {
        struct effect_result result = EFFECT_RESULT_INIT;
        struct error err = ERROR_INIT;

        begin(NULL);
        assert_true(perform(&performer, &effects[i].effect, &result, &err));
        assert_string_equal(diary.text, effects[i].diary);
        begin(effects[i].call);
        assert_false(perform(&performer, &effects[i].effect, &result, &err));
        assert_int_equal(err.kind, ERROR_LOST);
        assert_int_equal(run_metrics.batches_sent + run_metrics.accepted_rows + run_metrics.slowed,
                         0);
    }
}

static void a_listing_that_is_given_up_needs_no_write(void **state)
{
    const struct effect effect = { .kind = EFFECT_GIVE_UP_LISTING, .status = 404 };
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    begin(NULL);
    assert_true(perform(&performer, &effect, &result, &err));
    assert_string_equal(diary.text, "");
}

/* Two are named, one is not. */
static void refused_rows_go_with_the_confirmation_and_all_are_counted(void **state)
{
    static const char text[] = "invalid\0is no address";
    struct row row[5] = { { .address = "a@b.cd", .address_len = 6 },
                          { .address = "b@b.cd", .address_len = 6 },
                          { .address = "c@b.cd", .address_len = 6 } };
    const struct rows rows = { row, 3 };
    struct failed_row failed[] = { { 0, 0, 8 }, { 2, 0, 8 } };
    struct import_failures failures = { .n_rows = 3,
                                        .n_failed = 3,
                                        .failed = failed,
                                        .n = 2,
                                        .text = STRBUF_INIT(100),
                                        .n_unidentified = 1 };
    const struct effect effect = {
        .kind = EFFECT_CONFIRM, .batch_id = 3, .n_rows = 5, .rows = &rows, .failures = &failures
    };
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    begin(NULL);
    strbuf_add(&failures.text, text, sizeof text);
    assert_true(perform(&performer, &effect, &result, &err));
    assert_string_equal(diary.text, "confirm:3:2+1");
    assert_int_equal(run_metrics.rejected_rows, 3);
    assert_int_equal(run_metrics.accepted_rows, 2);
    strbuf_release(&failures.text);
}

static void a_split_says_of_each_row_where_it_goes(void **state)
{
    struct strbuf body = STRBUF_INIT(100);
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    begin(NULL);
    strbuf_add_str(&body, "{},{},{}");
    struct row row[] = { { .object = body.data, .len = 2, .address = "a", .address_len = 1 },
                         { .object = body.data + 3, .len = 2, .address = "b", .address_len = 1 },
                         { .object = body.data + 6, .len = 2, .address = "c", .address_len = 1 } };
    const struct rows rows = { row, 3 };
    struct verdict_row refused = { 1, "invalid", "words" };
    const struct batch_split split = { .verdict = { .rows = &refused, .n_rows = 1 },
                                       .n_rows = 3,
                                       .halves_at = 2 };
    const struct effect effect = {
        .kind = EFFECT_SPLIT,
        .batch_id = 3,
        .rows = &rows,
        .body = &body,
        .split = &split,
        .unanswered = true /* an import before may have become a job */
    };

    assert_true(perform(&performer, &effect, &result, &err));
    assert_string_equal(diary.text, "split:3:{1,0,2!");
    assert_int_equal(run_metrics.rejected_rows, 1);
    begin("split");
    assert_false(perform(&performer, &effect, &result, &err));
    assert_int_equal(run_metrics.rejected_rows, 0);
    strbuf_release(&body);
}

static const struct {
    enum endpoint endpoint;
    bool permit, starts, lease;
    const char *failing;
    bool ok;
    enum effect_sent sent;
    const char *diary;
} requests[] = {
    { ENDPOINT_IMPORT, true, true, true, NULL, true, EFFECT_SENT,
      "permit:A:import posted:3 start:00-trace" },
    { ENDPOINT_LIST_REMOVE, true, true, true, NULL, true, EFFECT_SENT,
      "permit:A:list_remove removal start:00-trace" },
    { ENDPOINT_LIST_REMOVE, true, true, false, NULL, true, EFFECT_NOT_ALLOWED,
      "permit:A:list_remove removal release:44" },
    { ENDPOINT_LIST_REMOVE, true, true, true, "removal", false, 0, "permit:A:list_remove removal" },
    { ENDPOINT_JOB, true, true, true, NULL, true, EFFECT_SENT, "permit:A:job start:00-trace" },
    { ENDPOINT_JOB, true, true, false, NULL, true, EFFECT_SENT, "permit:A:job start:00-trace" },
    { ENDPOINT_IMPORT, false, true, true, NULL, true, EFFECT_NO_PERMIT, "permit:A:import" },
    { ENDPOINT_IMPORT, true, true, false, NULL, true, EFFECT_NOT_ALLOWED,
      "permit:A:import posted:3 release:44" },
    { ENDPOINT_IMPORT, true, false, true, NULL, true, EFFECT_NOT_STARTED,
      "permit:A:import posted:3 start:00-trace release:44" },
    { ENDPOINT_IMPORT, true, true, true, "permit", false, 0, "permit:A:import" },
    { ENDPOINT_IMPORT, true, true, true, "posted", false, 0, "permit:A:import posted:3" },
    { ENDPOINT_IMPORT, true, false, true, "release", false, 0,
      "permit:A:import posted:3 start:00-trace release:44" },
};

/* Nothing is sent without a permit, and a permit that was not used is given back. */
static void a_request_goes_with_a_permit_or_not_at_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct pending_request pending = { .endpoint = requests[i].endpoint };
        const struct effect effect = { .kind = EFFECT_SEND,
                                       .batch_id = 3,
                                       .endpoint = requests[i].endpoint,
                                       .pending = &pending };
        struct effect_result result = EFFECT_RESULT_INIT;
        struct error err = ERROR_INIT;

        begin(requests[i].failing);
        world.starts = requests[i].starts;
        if (!requests[i].permit)
            world.permit = (struct rate_limit_permit){ .wait_ms = 250 };
        if (!requests[i].lease)
            lease_init(&lease, 60000, clock_ms() - 59000);
        assert_int_equal(perform(&performer, &effect, &result, &err), requests[i].ok);
        assert_string_equal(diary.text, requests[i].diary);
        if (requests[i].ok)
            assert_int_equal(result.sent, requests[i].sent);
        assert_int_equal(result.wait_ms, requests[i].permit ? 0 : 250);
        assert_int_equal(run_metrics.limit_wait_ms, requests[i].permit ? 0 : 250);
    }
}

static void a_permit_is_asked_for_within_the_published_limits(void **state)
{
    static const struct {
        enum endpoint endpoint;
        int per_second, per_minute;
    } cases[] = { { ENDPOINT_IMPORT, 10, 150 }, { ENDPOINT_PROFILES, 75, 750 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pending_request pending = { .endpoint = cases[i].endpoint };
        const struct effect effect = { .kind = EFFECT_SEND,
                                       .endpoint = cases[i].endpoint,
                                       .pending = &pending };
        struct effect_result result = EFFECT_RESULT_INIT;
        struct error err = ERROR_INIT;

        begin(NULL);
        assert_true(perform(&performer, &effect, &result, &err));
        assert_int_equal(world.claim.burst, cases[i].per_second);
        assert_int_equal(world.claim.steady, cases[i].per_minute);
        assert_int_equal(world.claim.timeout_ms, performer.timeout_ms);
    }
}

static void an_account_that_is_slow_already_is_not_told_again(void **state)
{
    const struct effect effect = {
        .kind = EFFECT_BLOCK_ACCOUNT, .endpoint = ENDPOINT_IMPORT, .wait_ms = 100, .throttled = true
    };
    struct effect_result result = EFFECT_RESULT_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    for (int64_t pace = 0; pace <= 50; pace += 50) {
        begin(NULL);
        world.pace = pace;
        assert_true(perform(&performer, &effect, &result, &err));
        assert_int_equal(run_metrics.slowed, pace > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_effect_is_one_write_and_what_fails_is_told),
        cmocka_unit_test(a_listing_that_is_given_up_needs_no_write),
        cmocka_unit_test(refused_rows_go_with_the_confirmation_and_all_are_counted),
        cmocka_unit_test(a_split_says_of_each_row_where_it_goes),
        cmocka_unit_test(a_request_goes_with_a_permit_or_not_at_all),
        cmocka_unit_test(a_permit_is_asked_for_within_the_published_limits),
        cmocka_unit_test(an_account_that_is_slow_already_is_not_told_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
