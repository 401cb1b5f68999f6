#include "test_klaviyo_support.h"

#include "worker/klaviyo/import_errors.h"
#include "worker/klaviyo/job_listing.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/url.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BASE "https://a.klaviyo.com"
#define JOBS BASE "/api/profile-bulk-import-jobs"

static void expect_url(const char *base, const struct request *request, const char *want)
{
    struct error err = ERROR_INIT;
    char *got;

    assert_true(url_make(base, request, &got, &err));
    assert_string_equal(got, want);
    free(got);
}

static void the_endpoint_makes_the_path(void **state)
{
    (void)state;
    expect_url(BASE, &(struct request){ .endpoint = ENDPOINT_IMPORT }, JOBS);
    expect_url(BASE, &(struct request){ .endpoint = ENDPOINT_ACCOUNTS }, BASE "/api/accounts");
    struct request poll = import_job_poll_request("am9iLTE");
    expect_url(BASE, &poll, JOBS "/am9iLTE");
    struct request list = klaviyo_list_request("YafG4m");
    expect_url("http://127.0.0.1:8081", &list, "http://127.0.0.1:8081/api/lists/YafG4m");
    expect_url("https://gateway.example/klaviyo", &list,
               "https://gateway.example/klaviyo/api/lists/YafG4m");
}

static void listings_ask_for_large_pages(void **state)
{
    struct request listing = job_listing_request();
    struct request errors = import_error_request("am9iLTE", NULL);

    (void)state;
    expect_url(BASE, &listing, JOBS "?page%5bsize%5d=100&sort=-created_at");
    expect_url(BASE, &errors, JOBS "/am9iLTE/import-errors?page%5bsize%5d=100");
}

static void ids_and_parameters_are_escaped(void **state)
{
    struct request poll = { .endpoint = ENDPOINT_JOB, .id = "a+b?c=d&e%f#g" };
    struct request filter = { .endpoint = ENDPOINT_JOBS,
                              .query = {
                                  { "filter", "equals(email,\"ada+x@shop.example\")&a=b" } } };

    (void)state;
    expect_url(BASE, &poll, JOBS "/a%2bb%3fc%3dd%26e%25f%23g");
    expect_url(BASE, &filter,
               JOBS "?filter=equals%28email%2c%22ada%2bx%40shop.example%22%29%26a%3db");
}

static void an_id_is_no_step_up_the_path(void **state)
{
    static const char *const ids[] = { ".", ".." };

    (void)state;
    for (size_t i = 0; i < COUNT(ids); i++) {
        struct request list = klaviyo_list_request(ids[i]);
        struct error err = ERROR_INIT;
        char *url = NULL;

        assert_false(url_make(BASE, &list, &url, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_null(url);
    }
}

/* Whatever an id, a parameter or a link holds: a URL is visible ASCII, or there is none. */
static void no_text_brings_a_control_character_into_a_url(void **state)
{
    char text[] = "a?c=1";

    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        const struct request requests[] = {
            klaviyo_list_request(text),
            { .endpoint = ENDPOINT_JOBS, .query = { { "filter", text } } },
            import_error_request("am9iLTE", text + 1),
        };

        text[4] = (char)byte;
        for (size_t i = 0; i < COUNT(requests); i++) {
            struct error err = ERROR_INIT;
            char *url = NULL;

            if (!url_make(BASE, &requests[i], &url, &err))
                continue;
            for (const char *c = url; *c; c++)
                assert_in_range(*c, '!', '~');
            free(url);
        }
    }
}

static void a_link_to_the_next_page_is_followed(void **state)
{
    static const char *const links[][2] = {
        { JOBS "/am9iLTE/import-errors/?page%5Bcursor%5D=bmV4dA",
          JOBS "/am9iLTE/import-errors?page%5bcursor%5d=bmV4dA" },
        { JOBS "/am9iLTE/import-errors?page[cursor]=a%2Bb&page[size]=100",
          JOBS "/am9iLTE/import-errors?page[cursor]=a%2bb&page[size]=100" },
        { "HTTPS://A.Klaviyo.com:443/api/profile-bulk-import-jobs/am9iLTE/import-errors?c=1",
          JOBS "/am9iLTE/import-errors?c=1" },
        { "/api/profile-bulk-import-jobs/am9iLTE/import-errors/?c=1",
          JOBS "/am9iLTE/import-errors?c=1" },
        { "?c=1", JOBS "/am9iLTE/import-errors?c=1" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(links); i++) {
        struct request errors = import_error_request("am9iLTE", links[i][0]);

        print_message("%s\n", links[i][0]);
        expect_url(BASE, &errors, links[i][1]);
    }
}

#define ERRORS "/api/profile-bulk-import-jobs/am9iLTE/import-errors"

static void whatever_host_a_link_names_the_base_is_asked(void **state)
{
    static const char *const bases[] = { BASE, "http://127.0.0.1:8081",
                                         "https://gateway.example/klaviyo",
                                         "https://gateway.example/api/" };
    static const char *const links[] = {
        BASE ERRORS "/?c=1",
        "https://evil.example" ERRORS "?c=1",
        "http://a.klaviyo.com" ERRORS "?c=1",
        "https://a.klaviyo.com:8443" ERRORS "?c=1",
        "https://a.klaviyo.com@evil.example" ERRORS "?c=1",
        "//evil.example" ERRORS "?c=1",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bases) * COUNT(links); i++) {
        const char *base = bases[i / COUNT(links)];
        struct request errors = import_error_request("am9iLTE", links[i % COUNT(links)]);
        size_t n = strlen(base) - (base[strlen(base) - 1] == '/');
        char want[256];

        print_message("%s %s\n", base, errors.link);
        (void)snprintf(want, sizeof want, "%.*s" ERRORS "?c=1", (int)n, base);
        expect_url(base, &errors, want);
    }
}

static void a_link_that_leads_elsewhere_is_not_followed(void **state)
{
    static const char *const links[] = {
        JOBS "/other/import-errors?c=1",
        JOBS "?c=1",
        JOBS "/am9iLTE/import-errors/../../../lists/x?c=1",
        BASE "/api/profile-subscription-bulk-create-jobs?c=1",
        "https://evil.example/import-errors?c=1",
        BASE "/v2" ERRORS "?c=1",
        JOBS "/am9iLTE/import-errors", /* the first page again, for ever */
        JOBS "/am9iLTE/import-errors?",
        "file:///etc/passwd",
        "javascript:x",
        "",
        "not a url",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(links); i++) {
        struct request errors = import_error_request("am9iLTE", links[i]);
        struct error err = ERROR_INIT;
        char *url = NULL;

        print_message("%s\n", links[i]);
        assert_false(url_make(BASE, &errors, &url, &err));
        assert_int_equal(err.kind, ERROR_RETRY);
        assert_null(url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_endpoint_makes_the_path),
        cmocka_unit_test(listings_ask_for_large_pages),
        cmocka_unit_test(ids_and_parameters_are_escaped),
        cmocka_unit_test(an_id_is_no_step_up_the_path),
        cmocka_unit_test(no_text_brings_a_control_character_into_a_url),
        cmocka_unit_test(a_link_to_the_next_page_is_followed),
        cmocka_unit_test(whatever_host_a_link_names_the_base_is_asked),
        cmocka_unit_test(a_link_that_leads_elsewhere_is_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
