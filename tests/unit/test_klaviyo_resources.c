#include "test_klaviyo_support.h"

#include "common/strbuf.h"
#include "worker/klaviyo/account.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/list_flows.h"
#include "worker/klaviyo/list_page.h"
#include "worker/klaviyo/usage.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void a_list_has_an_id_and_a_name(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_from(ENDPOINT_LIST, 200, "answers/list.json");
    struct error err = ERROR_INIT;
    struct klaviyo_list list;

    (void)state;
    assert_true(klaviyo_list_parse(&response, &list, &err));
    assert_string_equal(list.id, "YafG4m");
    assert_string_equal(list.name, "Autumn \xe2\x80\x93 best customers");
}

static void a_list_without_an_id_is_malformed(void **state)
{
    static const char *const bodies[] = { "{}",
                                          "{\"data\":[]}",
                                          "{\"data\":{\"id\":\"\"}}",
                                          "[]",
                                          "{\"data\":{\"id\":\"../accounts\"}}",
                                          NULL };

    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_LIST, 200, bodies[i]);
        struct error err = ERROR_INIT;
        struct klaviyo_list list;

        assert_false(klaviyo_list_parse(&response, &list, &err));
        assert_int_equal(err.kind, ERROR_RETRY);
    }
}

static void a_list_id_is_letters_digits_underscores_and_hyphens(void **state)
{
    static const struct {
        const char *id;
        bool good;
    } cases[] = {
        { "YafG4m", true },    { "a_b-C9", true },
        { "", false },         { "a b", false },
        { "a/b", false },      { "https://www.klaviyo.com/lists/YafG4m", false },
        { "\xc3\xa9", false }, { "a\n", false },
    };
    char longest[LIST_ID_MAX + 2];
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(klaviyo_list_id_check(cases[i].id, &err), cases[i].good);
    assert_int_equal(err.kind, ERROR_INPUT);

    memset(longest, 'a', sizeof longest);
    longest[LIST_ID_MAX + 1] = '\0';
    assert_false(klaviyo_list_id_check(longest, &err));
    longest[LIST_ID_MAX] = '\0';
    assert_true(klaviyo_list_id_check(longest, &err));
}

static void a_page_of_lists_has_ids_names_and_a_link(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_of(
        ENDPOINT_LISTS, 200,
        "{\"data\":[{\"id\":\"A\",\"attributes\":{\"name\":\"n\"}},{\"id\":\"\"},{},"
        "{\"id\":\"B\",\"attributes\":{\"name\":null}}],\"links\":{\"next\":\"https://x/2\"}}");
    CLEANUP(list_page_release) struct list_page page = LIST_PAGE_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(list_page_parse(&response, &page, &err));
    assert_int_equal(page.n, 2);
    assert_string_equal(page.lists[0].id, "A");
    assert_string_equal(page.lists[0].name, "n");
    assert_string_equal(page.lists[1].id, "B");
    assert_string_equal(page.lists[1].name, "");
    assert_string_equal(page.next, "https://x/2");
}

static void the_last_page_of_lists_has_no_link(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_of(ENDPOINT_LISTS, 200, "{\"data\":[]}");
    CLEANUP(list_page_release) struct list_page page = LIST_PAGE_INIT;
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(list_page_parse(&response, &page, &err));
    assert_int_equal(page.n, 0);
    assert_null(page.next);
}

static void what_is_no_page_of_lists_is_malformed(void **state)
{
    static const char *const bodies[] = { "", "[]", "{}", "{\"data\":{\"id\":\"A\"}}", NULL };

    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_LISTS, 200, bodies[i]);
        CLEANUP(list_page_release) struct list_page page = LIST_PAGE_INIT;
        struct error err = ERROR_INIT;

        assert_false(list_page_parse(&response, &page, &err));
        assert_int_equal(err.kind, ERROR_RETRY);
        assert_null(page.document);
    }
}

static void the_size_of_a_list_may_be_unknown(void **state)
{
    static const struct {
        const char *body;
        bool good;
        int64_t profiles;
    } cases[] = {
        { "{\"data\":{\"attributes\":{\"profile_count\":12}}}", true, 12 },
        { "{\"data\":{\"attributes\":{\"profile_count\":null}}}", true, -1 },
        { "{\"data\":{\"attributes\":{}}}", true, -1 },
        { "{\"data\":{}}", false, -2 },
        { "no JSON", false, -2 },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_LIST_SIZE, 200, cases[i].body);
        struct error err = ERROR_INIT;
        int64_t profiles = -2;

        assert_int_equal(list_size_parse(&response, &profiles, &err), cases[i].good);
        assert_int_equal(profiles, cases[i].profiles);
    }
}

static void lists_are_asked_for_by_page_and_sizes_one_by_one(void **state)
{
    (void)state;
    assert_int_equal(list_page_request(NULL).endpoint, ENDPOINT_LISTS);
    assert_null(list_page_request(NULL).link);
    assert_string_equal(list_page_request("https://x/2").link, "https://x/2");
    assert_int_equal(list_size_request("A").endpoint, ENDPOINT_LIST_SIZE);
    assert_string_equal(list_size_request("A").id, "A");
    assert_string_equal(list_size_request("A").query[0].value, "profile_count");
    assert_int_equal(klaviyo_list_profiles_request("A", NULL).endpoint, ENDPOINT_LIST_PROFILES);
    assert_string_equal(klaviyo_list_profiles_request("A", "https://x/3").link, "https://x/3");
}

static void an_account_has_an_id_and_perhaps_a_name(void **state)
{
    static const struct {
        const char *body; /* NULL: the example */
        const char *id;   /* NULL: malformed */
        const char *name;
    } cases[] = {
        { NULL, "AbC123", "Shop Ltd" },
        { "{\"data\":{\"id\":\"x\"}}", "x", "" },
        { "{\"data\":[{\"id\":\"x\",\"attributes\":{\"contact_information\":null}}]}", "x", "" },
        { "{\"data\":[]}", NULL, NULL },
        { "{\"data\":[{\"id\":\"\"}]}", NULL, NULL },
        { "{}", NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(response_release)
        struct response response =
            cases[i].body ? answer_of(ENDPOINT_ACCOUNTS, 200, cases[i].body)
                          : answer_from(ENDPOINT_ACCOUNTS, 200, "answers/accounts.json");
        struct error err = ERROR_INIT;
        struct account account;

        assert_int_equal(account_parse(&response, &account, &err), cases[i].id != NULL);
        if (!cases[i].id)
            continue;
        assert_string_equal(account.id, cases[i].id);
        assert_string_equal(account.name, cases[i].name);
    }
}

static void a_key_is_private_and_stays_out_of_the_text(void **state)
{
    static const struct {
        const char *key;
        const char *hint; /* NULL: good */
    } cases[] = {
        { "pk_0123456789abcdef0123456789abcdef01", NULL },
        { "pk_live-KEY_1", NULL },
        { "AbC123", "public key" },
        { "abcdefg", "begin with pk_" },
        { "", "begin with pk_" },
        { "pk_", "begin with pk_" },
        { "PK_sesame", "begin with pk_" },
        { "pk_sesame\n", "blanks" },
        { "pk_ses ame", "blanks" },
        { "pk_sesame\r\nx-sesame: 1", "blanks" },
        { "pk_s\xc3\xa9same", "blanks" },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err = ERROR_INIT;

        print_message("%s\n", cases[i].key);
        assert_int_equal(api_key_check(cases[i].key, strlen(cases[i].key), &err), !cases[i].hint);
        if (!cases[i].hint)
            continue;
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_non_null(strstr(err.text, cases[i].hint));
        assert_null(strstr(err.text, "sesame"));
        assert_null(strstr(err.text, "AbC123"));
    }
}

static void only_usage_of_profiles_is_read(void **state)
{
    CLEANUP(response_release)
    struct response response = answer_from(ENDPOINT_USAGE, 200, "answers/billing-usage.json");
    struct error err = ERROR_INIT;
    struct usage usage;

    (void)state;
    assert_true(usage_parse(&response, &usage, &err));
    assert_int_equal(usage.n, 2);
    assert_string_equal(usage.rows[0].name, "active-profiles");
    assert_int_equal(usage.rows[0].used, 4821);
    assert_int_equal(usage.rows[0].maximum, 5000);
    assert_int_equal(usage.rows[1].maximum, -1);
}

static void the_usage_with_the_least_room_counts(void **state)
{
    struct usage usage = { .rows = { { "a", 10, -1 }, { "b", 10, 100 }, { "c", 95, 120 } } };

    (void)state;
    assert_null(usage_tightest(&usage));
    usage.n = 1;
    assert_int_equal(usage_tightest(&usage)->maximum, -1);
    usage.n = 3;
    assert_string_equal(usage_tightest(&usage)->name, "c");
}

static void flows_that_are_live_and_not_archived_are_counted(void **state)
{
    struct response response = answer_from(ENDPOINT_FLOWS, 200, "answers/flow-triggers.json");
    struct error err = ERROR_INIT;
    int64_t live = -1;

    (void)state;
    assert_true(list_flows_parse(&response, &live, &err));
    assert_int_equal(live, 1);
    response_release(&response);
    response = answer_of(ENDPOINT_FLOWS, 200, "{\"data\":[]}");
    assert_true(list_flows_parse(&response, &live, &err));
    assert_int_equal(live, 0);
    response_release(&response);
    response = answer_of(ENDPOINT_FLOWS, 200, "{\"data\":{}}");
    assert_false(list_flows_parse(&response, &live, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    response_release(&response);
}

static void no_usage_of_profiles_is_no_error(void **state)
{
    static const char *const bodies[] = { "{\"data\":[]}",
                                          "{\"data\":[null,{},{\"attributes\":[]}]}" };

    (void)state;
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_USAGE, 200, bodies[i]);
        struct error err = ERROR_INIT;
        struct usage usage;

        assert_true(usage_parse(&response, &usage, &err));
        assert_int_equal(usage.n, 0);
    }
}

static void usage_has_room_for_so_many_rows(void **state)
{
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(10000);
    struct error err = ERROR_INIT;
    struct usage usage;

    (void)state;
    strbuf_add_str(&body, "{\"data\":[null");
    for (int i = 0; i < USAGE_MAX_ROWS + 3; i++)
        strbuf_add_str(&body, ",{\"attributes\":{\"unit\":\"profiles\",\"usage_used\":7}}");
    strbuf_add_str(&body, "]}");

    CLEANUP(response_release) struct response response = answer_of(ENDPOINT_USAGE, 200, body.data);
    assert_true(usage_parse(&response, &usage, &err));
    assert_int_equal(usage.n, USAGE_MAX_ROWS);
}

/* Only null, or nothing, is no limit: a run with --plan stop would pass with any number. */
static void a_limit_that_is_no_number_is_not_no_limit(void **state)
{
    enum { MALFORMED = -2 };
    static const struct {
        const char *attributes;
        int64_t used, maximum;
    } cases[] = {
        { "\"usage_used\":10,\"usage_max\":25000", 10, 25000 },
        { "\"usage_used\":10.5,\"usage_max\":25000.0", 11, 25000 },
        { "\"usage_used\":10,\"usage_max\":25000.9", 10, 25000 },
        { "\"usage_used\":0,\"usage_max\":0", 0, 0 },
        { "\"usage_used\":10,\"usage_max\":null", 10, -1 },
        { "\"usage_used\":10", 10, -1 },
        { "\"usage_used\":null,\"usage_max\":null", 0, -1 },
        { "\"usage_max\":null", 0, -1 },
        { "\"usage_used\":10,\"usage_max\":\"25000\"", 0, MALFORMED },
        { "\"usage_used\":10,\"usage_max\":-1", 0, MALFORMED },
        { "\"usage_used\":10,\"usage_max\":1e300", 0, MALFORMED },
        { "\"usage_used\":10,\"usage_max\":{}", 0, MALFORMED },
        { "\"usage_used\":null,\"usage_max\":25000", 0, MALFORMED },
        { "\"usage_max\":25000", 0, MALFORMED },
        { "\"usage_used\":-1,\"usage_max\":25000", 0, MALFORMED },
        { "\"usage_used\":1e300,\"usage_max\":25000", 0, MALFORMED },
        { "\"usage_used\":\"10\",\"usage_max\":null", 0, MALFORMED },
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);
        struct error err = ERROR_INIT;
        struct usage usage;

        print_message("%s\n", cases[i].attributes);
        strbuf_addf(&body, "{\"data\":[{\"attributes\":{\"unit\":\"profiles\",%s}}]}",
                    cases[i].attributes);
        CLEANUP(response_release)
        struct response response = answer_of(ENDPOINT_USAGE, 200, body.data);
        bool read = usage_parse(&response, &usage, &err);
        assert_int_equal(read, cases[i].maximum != MALFORMED);
        if (!read) {
            assert_int_equal(err.kind, ERROR_RETRY);
            continue;
        }
        assert_int_equal(usage.rows[0].used, cases[i].used);
        assert_int_equal(usage.rows[0].maximum, cases[i].maximum);
    }
}

/* The names are keys of rate limits in the database: changing one forgets what was counted. */
static void endpoints_keep_names_and_limits(void **state)
{
    static const struct {
        const char *name;
        int per_second, per_minute;
    } want[ENDPOINT_COUNT] = {
        [ENDPOINT_IMPORT] = { "import", 10, 150 },
        [ENDPOINT_JOB] = { "job", 10, 150 },
        [ENDPOINT_JOBS] = { "jobs", 10, 150 },
        [ENDPOINT_IMPORT_ERRORS] = { "import_errors", 10, 150 },
        [ENDPOINT_LIST] = { "list", 75, 750 },
        [ENDPOINT_LIST_SIZE] = { "list_size", 1, 15 },
        [ENDPOINT_LISTS] = { "lists", 75, 750 },
        [ENDPOINT_LIST_PROFILES] = { "list_profiles", 75, 750 },
        [ENDPOINT_LIST_REMOVE] = { "list_remove", 10, 150 },
        [ENDPOINT_PROFILES] = { "profiles", 75, 750 },
        [ENDPOINT_ACCOUNTS] = { "accounts", 1, 15 },
        [ENDPOINT_USAGE] = { "usage", 10, 150 },
        [ENDPOINT_FLOWS] = { "flows", 3, 60 },
    };

    (void)state;
    for (enum endpoint i = 0; i < ENDPOINT_COUNT; i++) {
        assert_string_equal(endpoint_name(i), want[i].name);
        assert_int_equal(endpoint_limit(i).per_second, want[i].per_second);
        assert_int_equal(endpoint_limit(i).per_minute, want[i].per_minute);
    }
}

/* Consent is not ours to change. */
static void no_path_touches_consent(void **state)
{
    static const char *const forbidden[] = { "subscri", "suppress", "privacy", "merge" };

    (void)state;
    for (enum endpoint i = 0; i < ENDPOINT_COUNT; i++)
        for (size_t j = 0; j < COUNT(forbidden); j++) {
            assert_null(strstr(endpoint_path(i).before, forbidden[j]));
            assert_int_equal(strncmp(endpoint_path(i).before, "/api/", 5), 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_has_an_id_and_a_name),
        cmocka_unit_test(a_list_without_an_id_is_malformed),
        cmocka_unit_test(a_list_id_is_letters_digits_underscores_and_hyphens),
        cmocka_unit_test(a_page_of_lists_has_ids_names_and_a_link),
        cmocka_unit_test(the_last_page_of_lists_has_no_link),
        cmocka_unit_test(what_is_no_page_of_lists_is_malformed),
        cmocka_unit_test(the_size_of_a_list_may_be_unknown),
        cmocka_unit_test(lists_are_asked_for_by_page_and_sizes_one_by_one),
        cmocka_unit_test(an_account_has_an_id_and_perhaps_a_name),
        cmocka_unit_test(a_key_is_private_and_stays_out_of_the_text),
        cmocka_unit_test(only_usage_of_profiles_is_read),
        cmocka_unit_test(the_usage_with_the_least_room_counts),
        cmocka_unit_test(flows_that_are_live_and_not_archived_are_counted),
        cmocka_unit_test(no_usage_of_profiles_is_no_error),
        cmocka_unit_test(usage_has_room_for_so_many_rows),
        cmocka_unit_test(a_limit_that_is_no_number_is_not_no_limit),
        cmocka_unit_test(endpoints_keep_names_and_limits),
        cmocka_unit_test(no_path_touches_consent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
