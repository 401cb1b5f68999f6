#include "test_klaviyo_support.h"

#include <jansson.h>

#include "worker/klaviyo/import_body.h"
#include "worker/klaviyo/import_errors.h"
#include "worker/klaviyo/import_job.h"
#include "worker/klaviyo/job_listing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define JOB "QWJDMTIzX21haW50ZW5hbmNlLkFiQ2RFZi4xNzg4NTI5MjAxLkdoSWpLbA"

/* The pieces of a request in one buffer. */
static void join(const struct request *request, struct strbuf *out)
{
    for (size_t i = 0; i < REQUEST_PIECES_MAX; i++)
        strbuf_add(out, request->body[i].bytes, request->body[i].n);
    assert_true(strbuf_ok(out));
}

static void head_rows_and_tail_are_one_document(void **state)
{
    static const char rows[] =
        "{\"type\":\"profile\",\"attributes\":{\"email\":\"ada@shop.example\","
        "\"properties\":{\"segment_ver\":42}}},\n"
        "{\"type\":\"profile\",\"attributes\":{\"email\":\"bob@shop.example\"}}";
    CLEANUP(strbuf_release) struct strbuf tail = STRBUF_INIT(1000);
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);
    char *example = read_example("import-request.json");

    (void)state;
    import_body_add_tail(&tail, "YafG4m");
    struct request request = import_body_request(rows, sizeof rows - 1, &tail);
    assert_int_equal(request.endpoint, ENDPOINT_IMPORT);
    join(&request, &body);

    json_t *got = json_loadb(body.data, body.len, 0, NULL);
    json_t *want = json_loads(example, 0, NULL);
    assert_non_null(got);
    assert_true(json_equal(got, want));
    assert_int_equal(body.len, sizeof rows - 1 + import_body_frame_bytes("YafG4m"));
    json_decref(got);
    json_decref(want);
    free(example);
}

static void an_import_may_update_profiles_and_name_no_list(void **state)
{
    CLEANUP(strbuf_release) struct strbuf tail = STRBUF_INIT(1000);
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);

    (void)state;
    import_body_add_tail(&tail, NULL);
    struct request request = import_body_request("{}", 2, &tail);
    join(&request, &body);

    json_t *root = json_loadb(body.data, body.len, 0, NULL);
    json_t *data = json_object_get(root, "data");
    assert_int_equal(json_object_size(data), 2);
    assert_non_null(json_object_get(json_object_get(data, "attributes"), "profiles"));
    json_decref(root);
}

static void a_list_id_is_escaped(void **state)
{
    static const char id[] = "a\"b\\c\n\xc3\xa9";
    CLEANUP(strbuf_release) struct strbuf tail = STRBUF_INIT(1000);
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);

    (void)state;
    import_body_add_tail(&tail, id);
    struct request request = import_body_request("{}", 2, &tail);
    join(&request, &body);

    const char *got = NULL;
    json_t *root = json_loadb(body.data, body.len, 0, NULL);
    assert_int_equal(json_unpack(root, "{s{s{s{s[{ss}]}}}}", "data", "relationships", "lists",
                                 "data", "id", &got),
                     0);
    assert_string_equal(got, id);
    assert_int_equal(body.len, 2 + import_body_frame_bytes(id));
    json_decref(root);
}

static void a_job_is_read_with_counts_or_without(void **state)
{
    static const struct {
        const char *example;
        enum import_job_status status;
        bool has_ended;
        int64_t failed;
    } cases[] = {
        { "answers/import-accepted.json", IMPORT_JOB_QUEUED, false, 0 },
        { "answers/job-processing.json", IMPORT_JOB_PROCESSING, false, -1 },
        { "answers/job-complete.json", IMPORT_JOB_COMPLETE, true, 1 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(response_release)
        struct response response = answer_from(ENDPOINT_JOB, 200, cases[i].example);
        struct error err = ERROR_INIT;
        struct import_job job;

        assert_true(import_job_parse(&response, &job, &err));
        assert_string_equal(job.id, JOB);
        assert_int_equal(job.status, cases[i].status);
        assert_int_equal(import_job_has_ended(&job), cases[i].has_ended);
        assert_int_equal(job.failed, cases[i].failed);
    }
}

static void a_job_that_does_not_count_is_no_job_that_has_not_counted_yet(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_of(
        ENDPOINT_JOB, 200, "{\"data\":{\"id\":\"a\",\"attributes\":{\"status\":\"complete\"}}}");
    struct error err = ERROR_INIT;
    struct import_job job;

    (void)state;
    assert_true(import_job_parse(&response, &job, &err));
    assert_int_equal(job.failed, IMPORT_JOB_NOT_COUNTED);
}

static void a_status_nobody_knows_is_not_the_end(void **state)
{
    CLEANUP(response_release)
    struct response response =
        answer_of(ENDPOINT_JOB, 200,
                  "{\"data\":{\"id\":\"a\",\"attributes\":{\"status\":\"resting\","
                  "\"failed_count\":null,\"total_count\":\"7\"}}}");
    struct error err = ERROR_INIT;
    struct import_job job;

    (void)state;
    assert_true(import_job_parse(&response, &job, &err));
    assert_int_equal(job.status, IMPORT_JOB_UNKNOWN);
    assert_false(import_job_has_ended(&job));
    assert_int_equal(job.failed, -1);
}

/* A word that nobody knows may be told; what is no word is not repeated. */
static void an_unknown_status_is_kept_where_it_is_a_word(void **state)
{
    static const struct {
        const char *status, *word;
    } cases[] = {
        { "\"completed\"", "completed" },
        { "\"Partially_done\"", "Partially_done" },
        { "\"complete\"", "" },
        { "\"queued\"", "" },
        { "\"\"", "" },
        { "\"of a@b.example\"", "" },
        { "\"caf\\u00e9\"", "" },
        { "\"a\\nb\"", "" },
        { "\"a_word_of_thirty_two_letters____\"", "" },
        { "\"a_word_of_thirty_one_letters___\"", "a_word_of_thirty_one_letters___" },
        { "null", "" },
        { "7", "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[256];
        struct error err = ERROR_INIT;
        struct import_job job;

        (void)snprintf(body, sizeof body,
                       "{\"data\":{\"id\":\"a\",\"attributes\":{\"status\":%s}}}", cases[i].status);
        CLEANUP(response_release) struct response response = answer_of(ENDPOINT_JOB, 200, body);
        assert_true(import_job_parse(&response, &job, &err));
        assert_string_equal(job.odd_status, cases[i].word);
    }
}

/* What failed decides what is confirmed. */
static void a_count_of_failures_that_is_none_is_malformed(void **state)
{
    static const char *const counts[] = { "\"3\"", "3.0", "-1", "[]", "true", "1e2" };

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char body[128];
        struct error err = ERROR_INIT;
        struct import_job job;

        (void)snprintf(body, sizeof body,
                       "{\"data\":{\"id\":\"a\",\"attributes\":{\"status\":\"complete\","
                       "\"failed_count\":%s}}}",
                       counts[i]);
        CLEANUP(response_release) struct response response = answer_of(ENDPOINT_JOB, 200, body);
        assert_false(import_job_parse(&response, &job, &err));
        assert_int_equal(err.kind, ERROR_RETRY);
    }
}

/* An empty id in the path is answered by the listing; a job must not be read from that. */
static void a_listing_is_no_job_and_a_job_no_listing(void **state)
{
    CLEANUP(response_release)
    struct response many = answer_from(ENDPOINT_JOB, 200, "answers/jobs.json");
    CLEANUP(response_release)
    struct response one = answer_from(ENDPOINT_JOBS, 200, "answers/job-complete.json");
    struct error err = ERROR_INIT;
    struct import_job job;
    struct job_listing listing;
    struct import_error_page page;

    (void)state;
    assert_false(import_job_parse(&many, &job, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_false(job_listing_parse(&one, &listing, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_false(import_error_page_parse(&one, &page, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
}

static void a_listing_answers_for_many_jobs(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_from(ENDPOINT_JOBS, 200, "answers/jobs.json");
    CLEANUP(job_listing_release)
    struct job_listing listing = JOB_LISTING_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(job_listing_parse(&response, &listing, &err));
    assert_int_equal(listing.n, 3);
    assert_int_equal(job_listing_find(&listing, "am9iLTE")->status, IMPORT_JOB_COMPLETE);
    assert_int_equal(job_listing_find(&listing, "am9iLTI")->status, IMPORT_JOB_CANCELLED);
    assert_null(job_listing_find(&listing, "elsewhere"));
}

static void a_listing_leaves_out_what_has_no_id(void **state)
{
    CLEANUP(response_release)
    struct response response =
        answer_of(ENDPOINT_JOBS, 200, "{\"data\":[null,{\"id\":\"\"},{\"id\":\"a\"},7]}");
    CLEANUP(job_listing_release)
    struct job_listing listing = JOB_LISTING_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(job_listing_parse(&response, &listing, &err));
    assert_int_equal(listing.n, 1);
    assert_non_null(job_listing_find(&listing, "a"));
}

static void an_import_error_names_its_row_by_address_or_index_or_not(void **state)
{
    static const struct {
        const char *email;
        int64_t row;
    } want[] = {
        { "bob@", 1 }, { "ada@shop.example", -1 }, { "eve+list@shop.example", -1 }, { NULL, 7 },
        { NULL, -1 },
    };
    CLEANUP(response_release)
    struct response response =
        answer_from(ENDPOINT_IMPORT_ERRORS, 200, "answers/import-errors.json");
    CLEANUP(import_error_page_release) struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(import_error_page_parse(&response, &page, &err));
    assert_int_equal(page.n, COUNT(want));
    for (size_t i = 0; i < page.n; i++) {
        assert_int_equal(page.errors[i].row, want[i].row);
        if (want[i].email)
            assert_string_equal(page.errors[i].email, want[i].email);
        else
            assert_null(page.errors[i].email);
    }
    assert_string_equal(page.errors[0].code, "invalid");
    assert_string_equal(page.errors[3].detail, "Profile is too large");
    assert_non_null(strstr(page.next, "page%5Bcursor%5D="));
}

static void the_last_page_has_no_next(void **state)
{
    static const char *const bodies[] = {
        "{\"data\":[],\"links\":{\"next\":null}}",
        "{\"data\":[],\"links\":{}}",
        "{\"data\":[]}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_IMPORT_ERRORS, 200, bodies[i]);
        CLEANUP(import_error_page_release) struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
        struct error err = ERROR_INIT;

        assert_true(import_error_page_parse(&response, &page, &err));
        assert_int_equal(page.n, 0);
        assert_null(page.next);
    }
}

static void an_import_error_may_hold_nothing_at_all(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_of(ENDPOINT_IMPORT_ERRORS, 200, "{\"data\":[{},null,[]]}");
    CLEANUP(import_error_page_release) struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(import_error_page_parse(&response, &page, &err));
    assert_int_equal(page.n, 3); /* each of them is a row that was not imported */
    for (size_t i = 0; i < page.n; i++) {
        assert_null(page.errors[i].email);
        assert_int_equal(page.errors[i].row, -1);
        assert_string_equal(page.errors[i].code, "");
        assert_string_equal(page.errors[i].detail, "");
    }
}

/* A property of a member's: 20 digits of a card, a number beyond every double. */
static void an_import_error_may_hold_a_number_of_any_size(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_of(
        ENDPOINT_IMPORT_ERRORS, 200,
        "{\"data\":[{\"attributes\":{\"code\":\"invalid\",\"original_payload\":{\"email\":"
        "\"a@shop.example\",\"properties\":{\"card\":12345678901234567890,\"x\":-1E+400}}}}]}");
    CLEANUP(import_error_page_release) struct import_error_page page = IMPORT_ERROR_PAGE_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(import_error_page_parse(&response, &page, &err));
    assert_int_equal(page.n, 1);
    assert_string_equal(page.errors[0].email, "a@shop.example");
}

static void what_is_no_json_object_is_asked_for_again(void **state)
{
    static const char *const bodies[] = { NULL, "", "<html>", "[]", "null", "{\"data\":[]", "7" };

    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_JOBS, 200, bodies[i]);
        struct import_job job;
        struct job_listing listing;
        struct import_error_page page;
        struct error err = ERROR_INIT;

        assert_false(import_job_parse(&response, &job, &err));
        assert_false(job_listing_parse(&response, &listing, &err));
        assert_false(import_error_page_parse(&response, &page, &err));
        assert_int_equal(err.kind, ERROR_RETRY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_rows_and_tail_are_one_document),
        cmocka_unit_test(a_list_id_is_escaped),
        cmocka_unit_test(an_import_may_update_profiles_and_name_no_list),
        cmocka_unit_test(a_job_is_read_with_counts_or_without),
        cmocka_unit_test(a_job_that_does_not_count_is_no_job_that_has_not_counted_yet),
        cmocka_unit_test(a_status_nobody_knows_is_not_the_end),
        cmocka_unit_test(an_unknown_status_is_kept_where_it_is_a_word),
        cmocka_unit_test(a_count_of_failures_that_is_none_is_malformed),
        cmocka_unit_test(a_listing_is_no_job_and_a_job_no_listing),
        cmocka_unit_test(a_listing_answers_for_many_jobs),
        cmocka_unit_test(a_listing_leaves_out_what_has_no_id),
        cmocka_unit_test(an_import_error_names_its_row_by_address_or_index_or_not),
        cmocka_unit_test(the_last_page_has_no_next),
        cmocka_unit_test(an_import_error_may_hold_nothing_at_all),
        cmocka_unit_test(an_import_error_may_hold_a_number_of_any_size),
        cmocka_unit_test(what_is_no_json_object_is_asked_for_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
