#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "worker/http/list_filter.h"
#include "worker/http/own_hosts.h"

static const struct own_hosts own = { .listen = "metrics.example.com:8080",
                                      .more = "status.example.net, .svc.cluster.local",
                                      .machine = "worker-1.shop.example" };

static void who_asks_under_our_names_is_let_in(void **state)
{
    static const char *const hosts[] = {
        "127.0.0.1:8080",
        "[::1]:8080",
        "[::1]",
        "192.0.2.7",
        "localhost",
        "LOCALHOST:8080",
        "app.localhost:8080",
        "klaviyo-worker:8080",
        "metrics.example.com",
        "METRICS.example.com:80",
        "status.example.net.",
        "worker-1.shop.example:8080",
        "kw.staging.svc.cluster.local:8080",
    };

    (void)state;
    assert_true(own_hosts_have(&own, NULL));
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        print_message("%s\n", hosts[i]);
        assert_true(own_hosts_have(&own, hosts[i]));
    }
}

static void a_name_that_only_leads_here_is_not(void **state)
{
    static const char *const hosts[] = {
        "",
        ":8080",
        "[]",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "metrics.example.com.evil.example",
        "example.com",
        "xstatus.example.net",
        "status.example.network",
        "status.example.net.evil.example",
        "svc.cluster.local",
        ".svc.cluster.local",
        "worker-1.evil.example",
        "1.2.3.4.5",
    };

    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        print_message("%s\n", hosts[i]);
        assert_false(own_hosts_have(&own, hosts[i]));
    }
}

static const char runs[] = "[{\"id\":4,\"export\":\"a b\",\"state\":\"failed\"},"
                           "{\"id\":3,\"export\":\"news\",\"state\":\"failed\"},"
                           "{\"id\":2,\"export\":\"news\",\"state\":\"succeeded\"},"
                           "{\"id\":1,\"export\":\"news\",\"state\":\"failed\"}]";

static void expect(const struct list_filter *filter, const char *ids)
{
    CLEANUP(strbuf_release) struct strbuf out = STRBUF_INIT(10000);
    char found[64] = "";

    assert_true(list_filter_apply(filter, "export", 3, runs, &out));
    for (const char *at = out.data; (at = strstr(at, "\"id\":")); at++)
        (void)snprintf(found + strlen(found), sizeof found - strlen(found), "%c", at[5]);
    assert_string_equal(found, ids);
}

static void runs_are_picked_by_limit_export_and_state(void **state)
{
    (void)state;
    expect(&(struct list_filter){ .limit = "" }, "432");
    expect(&(struct list_filter){ .limit = "4" }, "4321");
    expect(&(struct list_filter){ .limit = "2" }, "43");
    expect(&(struct list_filter){ .export_name = "news", .limit = "2" }, "32");
    expect(&(struct list_filter){ .export_name = "a b" }, "4");
    expect(&(struct list_filter){ .export_name = "news", .state = "failed" }, "31");
    expect(&(struct list_filter){ .state = "queued" }, "");
}

static void expect_problem(const struct list_filter *filter, enum list_filter_of list,
                           const char *words)
{
    const char *problem = list_filter_problem(filter, list);

    if (words)
        assert_true(problem && strstr(problem, words));
    else
        assert_null(problem);
}

static void a_filter_that_nothing_can_pass_is_told(void **state)
{
    static const char *const limits[] = { "1001", "0", "ten" };

    (void)state;
    expect_problem(&(struct list_filter){ .limit = "1000" }, LIST_FILTER_OF_RUNS, NULL);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct list_filter filter = { .limit = "" };

        (void)snprintf(filter.limit, sizeof filter.limit, "%s", limits[i]);
        expect_problem(&filter, LIST_FILTER_OF_RUNS, "from 1 to 1000");
        expect_problem(&filter, LIST_FILTER_OF_EXPORTS, "from 1 to 1000");
    }
    expect_problem(&(struct list_filter){ .state = "waiting" }, LIST_FILTER_OF_RUNS, NULL);
    expect_problem(&(struct list_filter){ .state = "suceeded" }, LIST_FILTER_OF_RUNS, "succeeded,");
    expect_problem(&(struct list_filter){ .state = "stale" }, LIST_FILTER_OF_RUNS, "cancelled");
    expect_problem(&(struct list_filter){ .state = "stale" }, LIST_FILTER_OF_EXPORTS, NULL);
    expect_problem(&(struct list_filter){ .state = "failed" }, LIST_FILTER_OF_EXPORTS, "stale");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_asks_under_our_names_is_let_in),
        cmocka_unit_test(a_name_that_only_leads_here_is_not),
        cmocka_unit_test(runs_are_picked_by_limit_export_and_state),
        cmocka_unit_test(a_filter_that_nothing_can_pass_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
