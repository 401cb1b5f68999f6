#include "test_klaviyo_support.h"

#include "common/strbuf.h"
#include "worker/klaviyo/verdict.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NOW_US INT64_C(1795507247000000) /* Tue, 24 Nov 2026 08:00:47 GMT */
#define HTML "answers/challenge.html"

static struct verdict judge(const struct response *response, size_t rows)
{
    struct error err = ERROR_INIT;
    struct verdict verdict = VERDICT_INIT;

    assert_true(verdict_judge(response, rows, NOW_US, &verdict, &err));
    return verdict;
}

/* One row of the table of answers per line. */
static const struct {
    enum endpoint endpoint;
    int status;
    const char *example; /* NULL: no body */
    enum verdict_action action;
} answers[] = {
    { ENDPOINT_IMPORT, 202, "answers/import-accepted.json", VERDICT_ACCEPTED },
    { ENDPOINT_IMPORT, 202, NULL, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 202, "answers/jobs.json", VERDICT_AGAIN },
    { ENDPOINT_JOB, 200, "answers/job-complete.json", VERDICT_OK },
    { ENDPOINT_JOBS, 200, "answers/jobs.json", VERDICT_OK },
    { ENDPOINT_IMPORT_ERRORS, 200, "answers/import-errors.json", VERDICT_OK },
    { ENDPOINT_LIST, 200, "answers/list.json", VERDICT_OK },
    { ENDPOINT_ACCOUNTS, 200, "answers/accounts.json", VERDICT_OK },
    { ENDPOINT_USAGE, 200, "answers/billing-usage.json", VERDICT_OK },

    { ENDPOINT_IMPORT, 400, "answers/import-rows-refused.json", VERDICT_ROWS_REFUSED },
    { ENDPOINT_IMPORT, 400, "answers/import-list-unknown.json", VERDICT_BATCH_REFUSED },
    { ENDPOINT_IMPORT, 400, "answers/import-mixed.json", VERDICT_BATCH_REFUSED },
    { ENDPOINT_IMPORT, 400, "answers/import-row-refused-with-its-value.json",
      VERDICT_ROWS_REFUSED },
    { ENDPOINT_IMPORT, 400, HTML, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 400, NULL, VERDICT_AGAIN },
    { ENDPOINT_JOB, 400, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_LIST, 400, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 413, "answers/import-list-unknown.json", VERDICT_TOO_LARGE },
    { ENDPOINT_IMPORT, 413, HTML, VERDICT_TOO_LARGE },
    { ENDPOINT_JOB, 413, HTML, VERDICT_UNEXPECTED },

    { ENDPOINT_PROFILES, 200, "answers/profiles.json", VERDICT_OK },
    { ENDPOINT_PROFILES, 400, "answers/not-found.json", VERDICT_BATCH_REFUSED },
    { ENDPOINT_PROFILES, 400, HTML, VERDICT_AGAIN },
    { ENDPOINT_PROFILES, 404, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_PROFILES, 414, HTML, VERDICT_TOO_LARGE },
    { ENDPOINT_LIST_REMOVE, 204, NULL, VERDICT_OK },
    { ENDPOINT_LIST_REMOVE, 400, "answers/not-found.json", VERDICT_BATCH_REFUSED },
    { ENDPOINT_LIST_REMOVE, 404, "answers/not-found.json", VERDICT_GONE },
    { ENDPOINT_LIST_REMOVE, 404, HTML, VERDICT_AGAIN },
    { ENDPOINT_LIST_REMOVE, 413, HTML, VERDICT_TOO_LARGE },
    { ENDPOINT_PROFILES, 431, HTML, VERDICT_TOO_LARGE },
    { ENDPOINT_LIST_REMOVE, 409, "answers/not-found.json", VERDICT_BATCH_REFUSED },
    { ENDPOINT_LIST_REMOVE, 409, HTML, VERDICT_AGAIN },
    { ENDPOINT_LIST_REMOVE, 410, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_LIST_REMOVE, 422, "answers/not-found.json", VERDICT_BATCH_REFUSED },
    { ENDPOINT_JOB, 410, "answers/not-found.json", VERDICT_UNEXPECTED }, /* a retired revision? */
    { ENDPOINT_LIST_REMOVE, 503, NULL, VERDICT_AGAIN },

    { ENDPOINT_IMPORT, 401, "answers/key-refused.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_JOB, 401, "answers/key-refused.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_LIST, 401, "answers/key-refused.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_ACCOUNTS, 401, "answers/key-refused.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_IMPORT, 403, "answers/permission-denied.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_JOBS, 403, "answers/permission-denied.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_IMPORT_ERRORS, 403, "answers/permission-denied.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_LIST, 403, "answers/permission-denied.json", VERDICT_KEY_REFUSED },
    { ENDPOINT_ACCOUNTS, 403, "answers/permission-denied.json", VERDICT_SCOPE_MISSING },
    { ENDPOINT_USAGE, 403, "answers/permission-denied.json", VERDICT_SCOPE_MISSING },
    { ENDPOINT_FLOWS, 403, "answers/permission-denied.json", VERDICT_SCOPE_MISSING },
    { ENDPOINT_FLOWS, 404, "answers/not-found.json", VERDICT_GONE },
    { ENDPOINT_FLOWS, 200, "answers/flow-triggers.json", VERDICT_OK },
    { ENDPOINT_FLOWS, 404, NULL, VERDICT_UNEXPECTED },
    { ENDPOINT_FLOWS, 400, HTML, VERDICT_UNEXPECTED },
    { ENDPOINT_USAGE, 404, HTML, VERDICT_UNEXPECTED },
    { ENDPOINT_USAGE, 501, NULL, VERDICT_UNEXPECTED },
    { ENDPOINT_USAGE, 403, HTML, VERDICT_AGAIN },
    { ENDPOINT_LIST, 404, HTML, VERDICT_AGAIN },
    { ENDPOINT_LIST_PROFILES, 403, "answers/permission-denied.json", VERDICT_SCOPE_MISSING },
    { ENDPOINT_IMPORT, 403, HTML, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 403, NULL, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 401, HTML, VERDICT_AGAIN },

    { ENDPOINT_JOB, 404, "answers/not-found.json", VERDICT_GONE },
    { ENDPOINT_IMPORT_ERRORS, 404, "answers/not-found.json", VERDICT_GONE },
    { ENDPOINT_LIST, 404, "answers/not-found.json", VERDICT_GONE },
    { ENDPOINT_LIST_PROFILES, 404, "answers/not-found.json", VERDICT_GONE },
    { ENDPOINT_LIST, 404, HTML, VERDICT_AGAIN }, /* would end a run for good */
    { ENDPOINT_IMPORT, 404, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_JOBS, 404, "answers/not-found.json", VERDICT_UNEXPECTED },

    { ENDPOINT_IMPORT, 429, "answers/throttled.json", VERDICT_THROTTLED },
    { ENDPOINT_USAGE, 429, NULL, VERDICT_THROTTLED },
    { ENDPOINT_IMPORT, 408, NULL, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 425, NULL, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 500, "answers/server-error.json", VERDICT_AGAIN },
    { ENDPOINT_JOB, 502, HTML, VERDICT_AGAIN },
    { ENDPOINT_JOB, 503, NULL, VERDICT_AGAIN },
    { ENDPOINT_JOB, 504, HTML, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 524, HTML, VERDICT_AGAIN },
    { ENDPOINT_IMPORT, 599, NULL, VERDICT_AGAIN },

    { ENDPOINT_IMPORT, 302, NULL, VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 405, NULL, VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 409, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 410, NULL, VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 415, NULL, VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 422, "answers/not-found.json", VERDICT_UNEXPECTED },
    { ENDPOINT_IMPORT, 999, NULL, VERDICT_UNEXPECTED },
};

static void every_answer_has_its_meaning(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        CLEANUP(response_release)
        struct response response =
            answers[i].example
                ? answer_from(answers[i].endpoint, answers[i].status, answers[i].example)
                : answer_of(answers[i].endpoint, answers[i].status, NULL);
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);

        print_message("%s %d %s: %s\n", endpoint_name(answers[i].endpoint), answers[i].status,
                      answers[i].example ? answers[i].example : "-",
                      verdict_action_name(verdict.action));
        assert_int_equal(verdict.action, answers[i].action);
        assert_int_equal(verdict.status, answers[i].status);
    }
}

static void no_whole_answer_means_again(void **state)
{
    static const struct {
        enum transport transport;
        int status;
        enum verdict_action action;
    } cases[] = {
        { TRANSPORT_UNREACHABLE, 0, VERDICT_AGAIN },
        { TRANSPORT_TIMED_OUT, 0, VERDICT_AGAIN },
        { TRANSPORT_BROKEN, 0, VERDICT_AGAIN },
        { TRANSPORT_BROKEN, 202, VERDICT_AGAIN },
        { TRANSPORT_BROKEN, 400, VERDICT_AGAIN },
        { TRANSPORT_BROKEN, 401, VERDICT_AGAIN },
        { TRANSPORT_BROKEN, 429, VERDICT_THROTTLED },
        { TRANSPORT_OVERSIZE, 200, VERDICT_AGAIN },
        { TRANSPORT_OVERSIZE, 400, VERDICT_BATCH_REFUSED },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct response response = { .endpoint = ENDPOINT_IMPORT,
                                     .transport = cases[i].transport,
                                     .status = cases[i].status,
                                     .why = "it broke" };
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);

        print_message("%s %d\n", transport_name(cases[i].transport), cases[i].status);
        assert_int_equal(verdict.action, cases[i].action);
        assert_int_equal(verdict.n_rows, 0);
    }
}

/* Content type and body must both speak for JSON; a missing type speaks against nothing. */
static void a_gateway_is_told_from_klaviyo_by_type_and_body(void **state)
{
    static const struct {
        const char *type;
        const char *body;
        enum verdict_action action;
    } cases[] = {
        { "application/vnd.api+json", "{\"errors\":[]}", VERDICT_KEY_REFUSED },
        { "application/json; charset=utf-8", "{\"errors\":[]}", VERDICT_KEY_REFUSED },
        { NULL, "{\"errors\":[{\"code\":\"forbidden\"}]}", VERDICT_KEY_REFUSED },
        { "", "\r\n {\"message\":\"no\"} \n", VERDICT_KEY_REFUSED },
        { "text/html", "{\"errors\":[]}", VERDICT_AGAIN },
        { "Text/HTML; charset=utf-8", "<html>", VERDICT_AGAIN },
        { "application/vnd.api+json", "<html>", VERDICT_AGAIN },
        { NULL, "<html>", VERDICT_AGAIN },
        { NULL, "", VERDICT_AGAIN },
        { NULL, "[]", VERDICT_AGAIN },
        { NULL, "\"no\"", VERDICT_AGAIN },
        { NULL, "{\"errors\":[{}]", VERDICT_AGAIN },
        { NULL, "{\"errors\":[{},]}", VERDICT_AGAIN },
        { NULL, "{\"errors\":[{}]}}", VERDICT_AGAIN },
        { NULL, "{errors:[]}", VERDICT_AGAIN },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_IMPORT, 403, cases[i].body);

        free(response.content_type);
        response.content_type = cases[i].type ? strdup(cases[i].type) : NULL;
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);
        print_message("%s: %s\n", cases[i].type ? cases[i].type : "-", cases[i].body);
        assert_int_equal(verdict.action, cases[i].action);
    }
}

static void a_verdict_names_the_job(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_from(ENDPOINT_IMPORT, 202, "answers/import-accepted.json");
    CLEANUP(verdict_release) struct verdict verdict = judge(&response, 2);

    (void)state;
    assert_string_equal(verdict.job.id,
                        "QWJDMTIzX21haW50ZW5hbmNlLkFiQ2RFZi4xNzg4NTI5MjAxLkdoSWpLbA");
    assert_int_equal(verdict.job.status, IMPORT_JOB_QUEUED);
}

static void an_accepted_answer_without_a_usable_id_is_malformed(void **state)
{
    static const char *const bodies[] = {
        "{}",
        "{\"data\":null}",
        "{\"data\":{\"id\":null}}",
        "{\"data\":{\"id\":\"\"}}",
        "{\"data\":{\"id\":7}}",
        "{\"data\":{\"id\":\"..\"}}",
        "{\"data\":{\"id\":\"a/b\"}}",
        "{\"data\":{\"id\":\"a b\"}}",
        "{\"data\":[{\"id\":\"a\"}]}",
        "{\"data\":{\"id\":\"a\"}",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_IMPORT, 202, bodies[i]);
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 2);

        print_message("%s\n", bodies[i]);
        assert_int_equal(verdict.action, VERDICT_AGAIN);
    }
}

static void refused_rows_come_once_each_in_order_with_klaviyos_words(void **state)
{
    CLEANUP(response_release)
    struct response response =
        answer_from(ENDPOINT_IMPORT, 400, "answers/import-rows-refused.json");
    CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);

    (void)state;
    assert_int_equal(verdict.n_rows, 2);
    assert_int_equal(verdict.rows[0].row, 0);
    assert_int_equal(verdict.rows[1].row, 3);
    assert_string_equal(verdict.rows[1].code, "invalid");
    assert_string_equal(verdict.rows[1].detail, "Invalid email address");
    assert_string_equal(verdict.code, "invalid");
    assert_string_equal(verdict.detail, "Invalid email address");
}

static void an_error_without_a_row_explains_a_mixed_refusal(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_from(ENDPOINT_IMPORT, 400, "answers/import-mixed.json");
    CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);

    (void)state;
    assert_int_equal(verdict.action, VERDICT_BATCH_REFUSED);
    assert_int_equal(verdict.n_rows, 1);
    assert_int_equal(verdict.rows[0].row, 1);
    assert_string_equal(verdict.detail, "The payload is too large.");
}

#define POINTED(pointer) "{\"errors\":[{\"source\":{\"pointer\":\"" pointer "\"}}]}"
#define ROWS "/data/attributes/profiles/data/"

static void a_pointer_names_a_row_of_the_request_or_none(void **state)
{
    static const struct {
        const char *body;
        enum verdict_action action;
    } cases[] = {
        { POINTED(ROWS "0"), VERDICT_ROWS_REFUSED },
        { POINTED(ROWS "9/attributes/email"), VERDICT_ROWS_REFUSED },
        { POINTED(ROWS "10/attributes/email"), VERDICT_BATCH_REFUSED }, /* ten rows: 0 to 9 */
        { POINTED(ROWS "99999999999999999999999"), VERDICT_BATCH_REFUSED },
        { POINTED(ROWS "-1"), VERDICT_BATCH_REFUSED },
        { POINTED(ROWS "1x"), VERDICT_BATCH_REFUSED },
        { POINTED(ROWS), VERDICT_BATCH_REFUSED },
        { POINTED("/data/attributes/profiles/data"), VERDICT_BATCH_REFUSED },
        { POINTED("/data"), VERDICT_BATCH_REFUSED },
        { POINTED(""), VERDICT_BATCH_REFUSED },
        { "{\"errors\":[{\"source\":{\"pointer\":null}}]}", VERDICT_BATCH_REFUSED },
        { "{\"errors\":[{\"source\":null}]}", VERDICT_BATCH_REFUSED },
        { "{\"errors\":[{}]}", VERDICT_BATCH_REFUSED },
        { "{\"errors\":[null]}", VERDICT_BATCH_REFUSED },
        { "{\"errors\":[]}", VERDICT_BATCH_REFUSED },
        { "{\"errors\":{}}", VERDICT_BATCH_REFUSED },
        { "{\"errors\":[1, 2.5 ,true]}", VERDICT_BATCH_REFUSED },
        { "{}", VERDICT_BATCH_REFUSED },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_IMPORT, 400, cases[i].body);
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);

        print_message("%s\n", cases[i].body);
        assert_int_equal(verdict.action, cases[i].action);
        assert_int_equal(verdict.n_rows, cases[i].action == VERDICT_ROWS_REFUSED);
    }
}

enum { MANY = 10000 };

static void ten_thousand_refused_rows_are_all_told_apart(void **state)
{
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(RESPONSE_BODY_MAX_BYTES);

    (void)state;
    strbuf_add_str(&body, "{\"meta\":{},\"errors\":[");
    for (int i = MANY - 1; i >= 0; i--)
        strbuf_addf(&body,
                    "{\"code\":\"\\u0069nvalid\",\"detail\":\"row %d\",\"source\":{\"pointer\":"
                    "\"" ROWS "%d/attributes/email\"}}%s",
                    i, i, i > 0 ? " , " : "");
    strbuf_add_str(&body, "]}");
    assert_true(strbuf_ok(&body));

    CLEANUP(response_release) struct response response = answer_of(ENDPOINT_IMPORT, 400, body.data);
    CLEANUP(verdict_release) struct verdict verdict = judge(&response, MANY);
    assert_int_equal(verdict.action, VERDICT_ROWS_REFUSED);
    assert_int_equal(verdict.n_rows, MANY);
    for (size_t i = 0; i < MANY; i++) {
        char detail[32];

        (void)snprintf(detail, sizeof detail, "row %zu", i);
        assert_int_equal(verdict.rows[i].row, i);
        assert_string_equal(verdict.rows[i].code, "invalid");
        assert_string_equal(verdict.rows[i].detail, detail);
    }
}

/* A cut in the middle of the errors must not let some rows pass for all. */
static void a_truncated_refusal_refuses_nothing(void **state)
{
    char *whole = read_example("answers/import-rows-refused.json");
    size_t n = strlen(whole) - strlen("}\n");

    (void)state;
    for (size_t cut = 0; cut < n; cut += 7) {
        CLEANUP(response_release) struct response response = answer_of(ENDPOINT_IMPORT, 400, whole);

        response.body_bytes = cut;
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);
        assert_int_equal(verdict.action, VERDICT_AGAIN);
        assert_int_equal(verdict.n_rows, 0);
        assert_string_equal(verdict.detail, "");
    }
    free(whole);
}

static void a_long_detail_is_cut_at_a_whole_character(void **state)
{
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(10000);

    (void)state;
    strbuf_add_str(&body, "{\"errors\":[{\"code\":\"a@b\",\"detail\":\"x");
    for (int i = 0; i < 1000; i++)
        strbuf_add_str(&body, "\xc3\xa9");
    strbuf_add_str(&body, "\",\"source\":{\"pointer\":\"" ROWS "1\"}}]}");

    CLEANUP(response_release) struct response response = answer_of(ENDPOINT_IMPORT, 400, body.data);
    CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);
    assert_int_equal(strlen(verdict.detail), 1023);
    assert_int_equal(strlen(verdict.rows[0].detail), 1023);
    assert_string_equal(verdict.detail + 1021, "\xc3\xa9");
    assert_string_equal(verdict.code, "other");
}

static void retry_after_is_followed_where_it_is_given(void **state)
{
    static const struct {
        int status;
        const char *retry_after;
        int64_t ms, wait_ms;
    } cases[] = {
        { 429, "1", 1000, 1000 },    { 429, NULL, 0, 1000 },
        { 429, "soon", 0, 1000 },    { 429, "Tue, 24 Nov 2026 08:00:57 GMT", 11000, 11000 },
        { 503, "56", 56000, 56000 }, { 500, "86401", 86400000, 86400000 },
        { 500, NULL, 0, 0 },         { 413, "56", 56000, 0 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_IMPORT, cases[i].status, NULL);

        response.retry_after = cases[i].retry_after ? strdup(cases[i].retry_after) : NULL;
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 10);
        assert_int_equal(verdict.retry_after_ms, cases[i].ms);
        assert_int_equal(verdict_wait_ms(&verdict), cases[i].wait_ms);
    }
}

static void the_text_says_status_and_code_and_no_address(void **state)
{
    static const char body[] = "{\"errors\":[{\"code\":\"invalid\",\"detail\":"
                               "\"ada@shop.example is not an address\"}]}";
    CLEANUP(response_release) struct response response = answer_of(ENDPOINT_LIST, 409, body);
    CLEANUP(verdict_release) struct verdict verdict = judge(&response, 0);
    struct error err = ERROR_INIT;
    char text[VERDICT_TEXT_BYTES];

    (void)state;
    verdict_text(&verdict, text);
    assert_string_equal(text, "Klaviyo answered 409 invalid to list");
    assert_false(verdict_error(&verdict, &err));
    assert_int_equal(err.kind, ERROR_INPUT);
    assert_null(strchr(err.text, '@'));
}

static void the_text_says_what_broke(void **state)
{
    struct response broken = { .endpoint = ENDPOINT_IMPORT,
                               .transport = TRANSPORT_BROKEN,
                               .why = "connection reset" };
    CLEANUP(response_release) struct response html = answer_from(ENDPOINT_JOB, 403, HTML);
    CLEANUP(verdict_release) struct verdict first = judge(&broken, 1);
    CLEANUP(verdict_release) struct verdict second = judge(&html, 0);
    struct error err = ERROR_INIT;
    char text[VERDICT_TEXT_BYTES];

    (void)state;
    verdict_text(&first, text);
    assert_string_equal(text, "no answer of Klaviyo to import: connection reset");
    assert_false(verdict_error(&first, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    verdict_text(&second, text);
    assert_string_equal(text, "Klaviyo's answer 403 to job is of no use: "
                              "its body is not the JSON of Klaviyo's API");
}

/* What a command's exit code says: 75 where the same may succeed later, else 1. */
static void only_what_may_pass_is_a_reason_to_try_again(void **state)
{
    static const struct {
        enum verdict_action action;
        enum error_kind kind;
    } cases[] = {
        { VERDICT_AGAIN, ERROR_RETRY },         { VERDICT_THROTTLED, ERROR_RETRY },
        { VERDICT_ROWS_REFUSED, ERROR_INPUT },  { VERDICT_BATCH_REFUSED, ERROR_INPUT },
        { VERDICT_TOO_LARGE, ERROR_INPUT },     { VERDICT_KEY_REFUSED, ERROR_INPUT },
        { VERDICT_SCOPE_MISSING, ERROR_INPUT }, { VERDICT_GONE, ERROR_INPUT },
        { VERDICT_UNEXPECTED, ERROR_INPUT },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct verdict verdict = { .action = cases[i].action, .status = 400 };
        struct error err = ERROR_INIT;

        assert_false(verdict_error(&verdict, &err));
        assert_int_equal(err.kind, cases[i].kind);
    }
}

#define LETTERS_60 "abcdefghijklmnopqrst_abcdefghijklmnopqrs_abcdefghijklmnopqrs"

/* A code is one of Klaviyo's if it is small letters; anything else may be somebody's. */
static void a_code_that_does_not_look_like_one_is_other(void **state)
{
    static const char *const cases[][2] = {
        { "invalid", "invalid" },
        { "duplicate_profile", "duplicate_profile" },
        { "list_is_being_merged", "list_is_being_merged" },
        { LETTERS_60 "abcd", LETTERS_60 "abcd" },
        { LETTERS_60 "abcde", "other" },
        { "a code", "other" },
        { "ada@shop.example", "other" },
        { "pk_0123456789abcdef", "other" },
        { "ada.lovelace", "other" },
        { "Invalid", "other" },
        { "", "" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[256];

        (void)snprintf(body, sizeof body, "{\"errors\":[{\"code\":\"%s\",\"detail\":\"x\"}]}",
                       cases[i][0]);
        CLEANUP(response_release) struct response response = answer_of(ENDPOINT_IMPORT, 422, body);
        CLEANUP(verdict_release) struct verdict verdict = judge(&response, 0);
        assert_string_equal(verdict.code, cases[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_its_meaning),
        cmocka_unit_test(no_whole_answer_means_again),
        cmocka_unit_test(a_gateway_is_told_from_klaviyo_by_type_and_body),
        cmocka_unit_test(a_verdict_names_the_job),
        cmocka_unit_test(an_accepted_answer_without_a_usable_id_is_malformed),
        cmocka_unit_test(refused_rows_come_once_each_in_order_with_klaviyos_words),
        cmocka_unit_test(an_error_without_a_row_explains_a_mixed_refusal),
        cmocka_unit_test(a_pointer_names_a_row_of_the_request_or_none),
        cmocka_unit_test(ten_thousand_refused_rows_are_all_told_apart),
        cmocka_unit_test(a_truncated_refusal_refuses_nothing),
        cmocka_unit_test(a_long_detail_is_cut_at_a_whole_character),
        cmocka_unit_test(retry_after_is_followed_where_it_is_given),
        cmocka_unit_test(the_text_says_status_and_code_and_no_address),
        cmocka_unit_test(the_text_says_what_broke),
        cmocka_unit_test(only_what_may_pass_is_a_reason_to_try_again),
        cmocka_unit_test(a_code_that_does_not_look_like_one_is_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
