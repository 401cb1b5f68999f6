#include "test_klaviyo_support.h"

#include "worker/klaviyo/list_removal.h"
#include "worker/klaviyo/profile_lookup.h"
#include "worker/klaviyo/url.h"

#define ID "01M1PAAR5HBCRHA3NN9NG5WRTA"

static void an_address_arrives_as_it_is(void **state)
{
    CLEANUP(strbuf_release)
    struct strbuf filter = STRBUF_INIT((size_t)2 * PROFILE_LOOKUP_MAX_BYTES);
    struct error err = ERROR_INIT;
    char *url = NULL;

    (void)state;
    profile_lookup_begin(&filter);
    assert_true(profile_lookup_add(&filter, "ada+x@shop.example"));
    assert_true(profile_lookup_add(&filter, "o'b=&b@shop.example"));
    profile_lookup_end(&filter);
    assert_string_equal(filter.data, "any(email,[\"ada+x@shop.example\",\"o'b=&b@shop.example\"])");

    struct request request = profile_lookup_request(filter.data, NULL);
    assert_true(url_make("https://a.klaviyo.com", &request, &url, &err));
    assert_non_null(strstr(url, "ada%2bx%40shop.example"));
    assert_non_null(strstr(url, "b%3d%26b%40"));
    assert_non_null(strstr(url, "fields%5bprofile%5d=email"));
    assert_non_null(strstr(url, "page%5bsize%5d=100"));
    free(url);
}

/* The longest addresses there are, of characters that are all escaped. */
static void a_filter_ends_before_its_request_is_too_long(void **state)
{
    CLEANUP(strbuf_release)
    struct strbuf filter = STRBUF_INIT((size_t)2 * PROFILE_LOOKUP_MAX_BYTES);
    struct error err = ERROR_INIT;
    char address[255], *url = NULL;
    int n = 0;

    (void)state;
    memset(address, '+', sizeof address - 1);
    address[sizeof address - 1] = '\0';
    profile_lookup_begin(&filter);
    while (profile_lookup_add(&filter, address))
        n++;
    profile_lookup_end(&filter);
    assert_in_range(n, 10, 25);
    assert_true(filter.len <= PROFILE_LOOKUP_MAX_BYTES);

    struct request request = profile_lookup_request(filter.data, NULL);
    assert_true(url_make("https://a.klaviyo.com", &request, &url, &err));
    assert_true(strlen(url) < (size_t)16 * 1024);
    free(url);
}

static void a_hundred_usual_addresses_fit_into_one_request(void **state)
{
    CLEANUP(strbuf_release)
    struct strbuf filter = STRBUF_INIT((size_t)2 * PROFILE_LOOKUP_MAX_BYTES);

    (void)state;
    profile_lookup_begin(&filter);
    for (int i = 0; i < PROFILE_LOOKUP_MAX; i++)
        assert_true(profile_lookup_add(&filter, "somebody.with.a.long.name@company.example"));
}

static void a_page_holds_profiles_and_perhaps_the_way_to_the_next(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_from(ENDPOINT_PROFILES, 200, "answers/profiles.json");
    struct profile_page page = PROFILE_PAGE_INIT;
    struct error err = ERROR_INIT;
    char *url = NULL;

    (void)state;
    assert_true(profile_page_parse(&response, &page, &err));
    assert_int_equal(page.n, 2);
    assert_string_equal(page.profiles[0].id, ID);
    assert_string_equal(page.profiles[0].email, "ada+x@shop.example");
    assert_string_equal(page.profiles[1].email, "");

    struct request next = profile_lookup_request("unused", page.next);
    assert_true(url_make("https://a.klaviyo.com", &next, &url, &err));
    assert_string_equal(url, "https://a.klaviyo.com/api/profiles"
                             "?page%5bcursor%5d=bmV4dDo6MDFNMVBBQk1G");
    free(url);
    profile_page_release(&page);
}

static void a_page_without_ids_is_malformed(void **state)
{
    static const char *const bodies[] = {
        "{\"data\":{}}",
        "{}",
        "[]",
        "{\"data\":[{\"type\":\"profile\"}]}",
        "{\"data\":[{\"id\":\"\"}]}",
        "{\"data\":[{\"id\":\"a\\\"},{\"}]}",
        "{\"data\":[{\"id\":\"a/b\"}]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_PROFILES, 200, bodies[i]);
        struct profile_page page = PROFILE_PAGE_INIT;
        struct error err = ERROR_INIT;

        assert_false(profile_page_parse(&response, &page, &err));
        assert_int_equal(err.kind, ERROR_RETRY);
        assert_null(page.profiles);
    }
}

static void a_removal_names_ids(void **state)
{
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);
    struct error err = ERROR_INIT;
    char *url = NULL;

    (void)state;
    list_removal_begin(&body);
    list_removal_add(&body, ID);
    list_removal_add(&body, "b");
    list_removal_end(&body);
    struct request request = list_removal_request("YafG4m", &body);

    assert_string_equal(request.body[0].bytes, "{\"data\":[{\"type\":\"profile\",\"id\":\"" ID
                                               "\"},{\"type\":\"profile\",\"id\":\"b\"}]}");
    assert_int_equal(endpoint_method(request.endpoint), ENDPOINT_DELETE);
    assert_true(url_make("https://a.klaviyo.com", &request, &url, &err));
    assert_string_equal(url, "https://a.klaviyo.com/api/lists/YafG4m/relationships/profiles");
    free(url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_arrives_as_it_is),
        cmocka_unit_test(a_filter_ends_before_its_request_is_too_long),
        cmocka_unit_test(a_hundred_usual_addresses_fit_into_one_request),
        cmocka_unit_test(a_page_holds_profiles_and_perhaps_the_way_to_the_next),
        cmocka_unit_test(a_page_without_ids_is_malformed),
        cmocka_unit_test(a_removal_names_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
