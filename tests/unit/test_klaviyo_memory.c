#include "test_klaviyo_support.h"

#include <curl/curl.h>
#include <jansson.h>

#include "common/strbuf.h"
#include "worker/klaviyo/account.h"
#include "worker/klaviyo/client.h"
#include "worker/klaviyo/import_errors.h"
#include "worker/klaviyo/job_listing.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/usage.h"
#include "worker/klaviyo/verdict.h"

/*
 * Each allocation made to fail once, in the code under test (the linker hands it
 * these functions) and in the libraries it calls (they are told to use them).
 * Round n fails the n-th one; the rounds end with the first that met no failure.
 */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
char *__wrap_strdup(const char *text);

static unsigned round_number; /* 0: nothing fails */
static unsigned countdown;
static bool has_failed;

static bool must_fail(void)
{
    if (round_number == 0 || has_failed || --countdown > 0)
        return false;
    has_failed = true;
    return true;
}

static bool next_round(void)
{
    bool go_on = round_number == 0 || has_failed;

    round_number = go_on ? round_number + 1 : 0;
    countdown = round_number;
    has_failed = false;
    return go_on;
}

void *__wrap_malloc(size_t n)
{
    return must_fail() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return must_fail() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n)
{
    return must_fail() ? NULL : __real_realloc(old, n);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
    return must_fail() ? NULL : __real_realloc(old, n * size);
}

char *__wrap_strdup(const char *text)
{
    char *copy = must_fail() ? NULL : __real_malloc(strlen(text) + 1);

    return copy ? memcpy(copy, text, strlen(text) + 1) : NULL;
}

/* a response that needs no memory of its own. */
static struct response borrow(enum endpoint endpoint, int status, char *body)
{
    struct response response = { .endpoint = endpoint,
                                 .transport = TRANSPORT_ANSWERED,
                                 .status = status,
                                 .body = body,
                                 .body_bytes = strlen(body) };

    return response;
}

/*
 * Half of the refused rows taken for all would send the others into the same
 * refusal. jansson itself goes on with a byte less where it cannot grow a string
 * (2.14, lex_save); a pointer that suffered so names no row.
 */
static void a_verdict_holds_all_refused_rows_or_none(void **state)
{
    enum { ROWS = 40 };
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(100000);
    unsigned rounds = 0;

    (void)state;
    strbuf_add_str(&body, "{\"errors\":[");
    for (int i = 0; i < ROWS; i++)
        strbuf_addf(&body,
                    "%s{\"code\":\"invalid\",\"source\":{\"pointer\":"
                    "\"/data/attributes/profiles/data/%d\"}}",
                    i > 0 ? "," : "", i);
    strbuf_add_str(&body, "]}");
    assert_true(strbuf_ok(&body));
    struct response response = borrow(ENDPOINT_IMPORT, 400, body.data);

    while (next_round()) {
        CLEANUP(verdict_release) struct verdict verdict = VERDICT_INIT;
        struct error err = ERROR_INIT;

        rounds++;
        if (!verdict_judge(&response, ROWS, 0, &verdict, &err))
            assert_int_equal(err.kind, ERROR_RETRY);
        else if (verdict.action == VERDICT_ROWS_REFUSED)
            assert_int_equal(verdict.n_rows, ROWS);
        else
            assert_true(has_failed && (verdict.action == VERDICT_BATCH_REFUSED ||
                                       (verdict.action == VERDICT_AGAIN && verdict.n_rows == 0)));
    }
    assert_true(rounds > ROWS);
}

static bool parse_job(const struct response *response, struct error *err)
{
    struct import_job job;

    return import_job_parse(response, &job, err);
}

static bool parse_listing(const struct response *response, struct error *err)
{
    CLEANUP(job_listing_release)
    struct job_listing listing = JOB_LISTING_INIT;

    return job_listing_parse(response, &listing, err) && listing.n == 3;
}

static bool parse_errors(const struct response *response, struct error *err)
{
    CLEANUP(import_error_page_release) struct import_error_page page = IMPORT_ERROR_PAGE_INIT;

    return import_error_page_parse(response, &page, err) && page.n == 5 && page.next;
}

static bool parse_list(const struct response *response, struct error *err)
{
    struct klaviyo_list list;

    return klaviyo_list_parse(response, &list, err);
}

static bool parse_account(const struct response *response, struct error *err)
{
    struct account account;

    return account_parse(response, &account, err);
}

static bool parse_usage(const struct response *response, struct error *err)
{
    struct usage usage;

    return usage_parse(response, &usage, err) && usage.n == 2;
}

static void a_parser_reads_everything_or_says_again(void **state)
{
    static const struct {
        const char *example;
        bool (*parse)(const struct response *response, struct error *err);
    } cases[] = {
        { "answers/job-complete.json", parse_job },
        { "answers/jobs.json", parse_listing },
        { "answers/import-errors.json", parse_errors },
        { "answers/list.json", parse_list },
        { "answers/accounts.json", parse_account },
        { "answers/billing-usage.json", parse_usage },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *body = read_example(cases[i].example);
        struct response response = borrow(ENDPOINT_JOBS, 200, body);
        unsigned rounds = 0;

        while (next_round()) {
            struct error err = ERROR_INIT;

            rounds++;
            if (!cases[i].parse(&response, &err))
                assert_true(has_failed && err.kind == ERROR_RETRY);
        }
        assert_true(rounds > 5);
        free(body);
    }
}

static void a_client_is_made_whole_or_not_at_all(void **state)
{
    const struct client_options options = { .base_url = "http://127.0.0.1:1",
                                            .revision = "2026-10-15",
                                            .user_agent = "klaviyo-worker/0.0.0",
                                            .api_key = "pk_test",
                                            .timeout_ms = 1000 };
    unsigned rounds = 0;

    (void)state;
    while (next_round()) {
        struct error err = ERROR_INIT;
        struct client *client = client_new(&options, &err);

        rounds++;
        if (!client)
            assert_true(has_failed && (err.kind == ERROR_RETRY || err.kind == ERROR_INPUT));
        client_free(client);
    }
    assert_true(rounds > 10);
}

static void a_request_begins_or_leaves_no_trace(void **state)
{
    const struct client_options options = { .base_url = "http://127.0.0.1:1",
                                            .revision = "2026-10-15",
                                            .user_agent = "klaviyo-worker/0.0.0",
                                            .api_key = "pk_test",
                                            .timeout_ms = 1000 };
    struct error err = ERROR_INIT;
    struct client *client = client_new(&options, &err);
    unsigned rounds = 0;

    (void)state;
    assert_non_null(client);
    while (next_round()) {
        struct request request = import_job_poll_request("am9iLTE");

        err = ERROR_INIT;
        rounds++;
        bool has_begun = client_start(client, &request, NULL, &err);
        assert_true(has_begun || has_failed);
        assert_int_equal(client_in_flight(client), has_begun);
        client_abort_all(client);
    }
    client_free(client);
    assert_true(rounds > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_holds_all_refused_rows_or_none),
        cmocka_unit_test(a_parser_reads_everything_or_says_again),
        cmocka_unit_test(a_client_is_made_whole_or_not_at_all),
        cmocka_unit_test(a_request_begins_or_leaves_no_trace),
    };

    json_set_alloc_funcs(__wrap_malloc, free);
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, free, __wrap_realloc,
                             __wrap_strdup, __wrap_calloc))
        return EXIT_FAILURE;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
