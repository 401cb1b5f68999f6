#include "test_delivery_world.h"

#include <time.h>

/*
 * Random facts against a naive model. Whatever Klaviyo says, and in whatever
 * order: each row is confirmed, rejected or left exactly once; no batch is
 * posted twice at a time; a job that has ended is never polled; something is
 * always due, in flight or to be planned, or the run is at its end; nothing is
 * fetched while an earlier run's job is waited for. The world asserts all but
 * the fourth with each effect.
 *
 * DELIVERY_FACTS says how many facts; the seed is printed where it fails.
 */
enum { FACTS = 300000, BATCHES_PER_RUN = 8, ROWS_PER_BATCH = 6, TROUBLES_MAX = 400 };

static uint64_t dice_state;

static uint64_t dice(uint64_t below)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return dice_state % below;
}

static uint32_t random_pause(void)
{
    return (uint32_t)dice(UINT32_MAX);
}

/* ---- responses, fitting or not ---- */

static void add_pointers(char *body, int rows)
{
    int n = 1 + (int)dice(3);

    body_add(body, "{\"errors\":[");
    for (int i = 0; i < n; i++)
        body_add(body,
                 "%s{\"code\":\"invalid\",\"source\":{\"pointer\":"
                 "\"/data/attributes/profiles/data/%d\"}}",
                 i ? "," : "", (int)dice((uint64_t)rows + 1));
    body_add(body, "]}");
}

static void add_error_page(struct world *w, char *body, const struct batch_import *import)
{
    int n = (int)dice(4);

    body_add(body, "{\"data\":[");
    for (int i = 0; i < n; i++) {
        body_add(body, "%s{\"attributes\":{\"code\":\"invalid\"", i ? "," : "");
        if (dice(3) == 0)
            body_add(body, ",\"original_payload\":{\"email\":\"r%04d@x.example\"}",
                     world_row_at(w, import->batch.batch_id, dice((uint64_t)import->batch.rows)));
        else if (dice(4) > 0)
            body_add(body, ",\"source\":{\"pointer\":\"/data/attributes/profiles/data/%d\"}",
                     (int)dice((uint64_t)import->batch.rows + 1));
        body_add(body, "}}");
    }
    body_add(body, "],\"links\":{\"next\":%s}}", dice(3) ? "null" : "\"https://x.example/?p=2\"");
}

static const char *random_status(void)
{
    static const char *const statuses[] = {
        "queued",   "processing", "complete",  "complete",
        "complete", "complete",   "cancelled", "of the future"
    };

    return statuses[dice(sizeof statuses / sizeof statuses[0])];
}

/* What the listing says of a job whose own poll is in flight is not heard. */
static void add_random_job(struct world *w, char *body, const struct batch_import *import,
                           bool heard)
{
    const char *status = random_status();
    char failed[16] = "null";

    if (dice(4) > 0)
        (void)snprintf(failed, sizeof failed, "%d",
                       dice(2) ? 0 : (int)dice((uint64_t)import->batch.rows + 2));
    body_add_job(body, import->batch.job_id, status, failed);
    if (heard)
        world_job_told(w, import->batch.job_id, status, failed);
}

static void add_random_listing(struct world *w, char *body)
{
    bool any = false;

    body_add(body, "{\"data\":[");
    for (size_t i = 0; i < w->delivery.imports.n; i++) {
        const struct batch_import *import = w->delivery.imports.import[i];

        if (import->step != IMPORT_POLL || dice(4) == 0)
            continue;
        body_add(body, "%s", any ? "," : "");
        add_random_job(w, body, import, !import->request.in_flight);
        any = true;
    }
    body_add(body, "]}");
}

/* A response of use to that request. */
static void fitting_response(struct world *w, const struct pending_request *pending, char *body,
                             struct world_response *response)
{
    switch (pending->endpoint) {
    case ENDPOINT_IMPORT:
        response->status = 202;
        body_add(body,
                 "{\"data\":{\"type\":\"profile-bulk-import-job\",\"id\":\"J%d\","
                 "\"attributes\":{\"status\":\"queued\"}}}",
                 ++w->n_jobs);
        return;
    case ENDPOINT_JOB:
        body_add(body, "{\"data\":");
        add_random_job(w, body, pending->import, true);
        body_add(body, "}");
        return;
    case ENDPOINT_JOBS:
        add_random_listing(w, body);
        return;
    case ENDPOINT_IMPORT_ERRORS:
        add_error_page(w, body, pending->import);
        return;
    case ENDPOINT_LIST:
        body_add(body, "{\"data\":{\"type\":\"list\",\"id\":\"L1\"}}");
        return;
    case ENDPOINT_LIST_SIZE:
    case ENDPOINT_LISTS:
    case ENDPOINT_LIST_PROFILES:
    case ENDPOINT_LIST_REMOVE:
    case ENDPOINT_PROFILES:
    case ENDPOINT_ACCOUNTS:
    case ENDPOINT_USAGE:
    case ENDPOINT_FLOWS:
    case ENDPOINT_COUNT:
        break;
    }
    fail();
}

/* Refused, broken, malformed, late. */
static void troublesome_response(const struct pending_request *pending, char *body,
                                 struct world_response *response)
{
    static const int statuses[] = { 400, 400, 400, 413, 429, 500, 503, 408, 403, 401 };
    static const enum transport transports[] = { TRANSPORT_UNREACHABLE, TRANSPORT_TIMED_OUT,
                                                 TRANSPORT_BROKEN, TRANSPORT_OVERSIZE };
    int rows = pending->import ? pending->import->batch.rows : 1;

    if (dice(5) == 0) {
        response->transport = transports[dice(4)];
        return;
    }
    if (dice(8) == 0) {
        body_add(body, "{\"data\":");
        return;
    }
    response->status = statuses[dice(sizeof statuses / sizeof statuses[0])];
    if (response->status == 400 && pending->endpoint != ENDPOINT_IMPORT)
        response->status = pending->endpoint == ENDPOINT_JOB ? 404 : 500;
    response->retry_after = dice(3) ? NULL : "3";
    if (response->status >= 401 && response->status <= 403 && dice(20) > 0)
        response->content_type = "text/html"; /* a key that is refused ends the run */
    add_pointers(body, rows);
    if (dice(3) == 0)
        memcpy(body, "{\"errors\":[{}]}", sizeof "{\"errors\":[{}]}"); /* names no row */
}

static void random_response(struct world *w, bool trouble)
{
    char body[WORLD_BODY_BYTES] = "";
    struct pending_request *pending = w->in_flight[dice(w->n_in_flight)];
    struct world_response response = { .status = 200, .body = body };

    if (trouble)
        troublesome_response(pending, body, &response);
    else
        fitting_response(w, pending, body, &response);
    world_respond(w, pending, &response);
}

/* ---- one run ---- */

static void check_ended(const struct world *w)
{
    bool failed = w->delivery.reason != REASON_NONE;

    for (int row = 0; row < w->n_rows; row++)
        if (!failed)
            assert_int_not_equal(w->rows[row], ROW_OPEN);
    if (!failed)
        assert_int_equal(w->n_in_flight, 0);
}

static void check_alive(const struct world *w)
{
    assert_true(delivery_posting(&w->delivery) <= DELIVERY_IMPORTS_MAX);
    if (w->plan_done && w->n_in_flight == 0)
        assert_true(delivery_due_ms(&w->delivery, w->now_ms) < REQUEST_SCHEDULE_NEVER);
}

static void random_fact(struct world *w, int *troubles)
{
    uint64_t n = dice(100);
    bool full = w->n_batches > WORLD_BATCHES_MAX / 2; /* split enough: towards the end */

    if (n < 10 && w->n_rows < BATCHES_PER_RUN * ROWS_PER_BATCH && !w->plan_done)
        world_plan(w, 1 + (int)dice(ROWS_PER_BATCH));
    else if (n < 14)
        w->plan_done = true;
    else if (n < 18)
        w->no_permit = true;
    else if (n < 75 && w->n_in_flight > 0)
        random_response(w, dice(3) == 0 && !full && (*troubles)++ < TROUBLES_MAX);
    else if (!world_pass_time(w))
        w->now_ms += (int64_t)dice(2000);
}

static int play_run(uint64_t seed, int most)
{
    static struct world w;
    int n = 0, troubles = 0;

    dice_state = seed * 0x9E3779B97F4A7C15 + 1;
    world_init(&w, dice(2) == 0);
    w.keeps_diary = false;
    w.delivery.schedule.random = random_pause;
    for (int i = (int)dice(8); i < 3; i++) /* seldom more than none */
        world_adopt_late_job(&w, i + 1, dice(2) == 0);
    for (; !w.over && n < most; n++) {
        random_fact(&w, &troubles);
        world_plan_news(&w);
        world_settle(&w);
        if (!w.over)
            check_alive(&w);
    }
    if (!w.over)
        world_finish(&w);
    check_ended(&w);
    world_release(&w);
    return n;
}

static int facts_wanted(void)
{
    const char *text = getenv("DELIVERY_FACTS");
    int n = 0;

    for (; text && *text >= '0' && *text <= '9'; text++)
        n = n * 10 + (*text - '0');
    return n ? n : FACTS;
}

static void random_facts_agree_with_a_naive_model(void **state)
{
    int wanted = facts_wanted(), n = 0;
    uint64_t runs = 0;
    clock_t began = clock();

    (void)state;
    while (n < wanted)
        n += play_run(++runs, 5000);
    print_message("%d facts in %d runs, %d ms\n", n, (int)runs,
                  (int)((clock() - began) * 1000 / CLOCKS_PER_SEC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_facts_agree_with_a_naive_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
