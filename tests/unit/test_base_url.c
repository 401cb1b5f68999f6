#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "common/base_url.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const here[] = {
    "http://127.0.0.1",         "http://127.0.0.1:8090", "http://127.255.0.9/klaviyo",
    "http://localhost",         "HTTP://LocalHost:8090", "http://[::1]:8090",
    "http://[0:0:0:0:0:0:0:1]",
};

/* Each of them looks like this machine, or is it only by a parser's kindness. */
static const char *const elsewhere[] = {
    "http://127.0.0.1.example.com",
    "http://127.0.0.1.",
    "http://localhost.",
    "http://localhost.example.com",
    "http://127.1",
    "http://2130706433",
    "http://0x7f000001",
    "http://0127.0.0.1",
    "http://127.0.0.1.1",
    "http://[::ffff:127.0.0.1]",
    "http://[::2]",
    "http://0.0.0.0",
    "http://128.0.0.1",
    "http://a.klaviyo.com",
    "http://localhost-x",
    "http://127.0.0.256",
    "http://[::]",
};

static const char *const malformed[] = {
    "",
    "a.klaviyo.com",
    "ftp://127.0.0.1",
    "https:/a.klaviyo.com",
    "https://",
    "https:///api",
    "https://:443",
    "https://user@a.klaviyo.com",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1:80@evil.example",
    "http://127.0.0.1\\@evil.example",
    "http://127.0.0.1#@evil.example",
    "http://127.0.0.1?@evil.example",
    "http://127.0.0.1%2eevil.example",
    "https://a.klaviyo.com:",
    "https://a.klaviyo.com:0",
    "https://a.klaviyo.com:65536",
    "https://a.klaviyo.com:+443",
    "https://a.klaviyo.com:443x",
    "https://a.klaviyo.com?x=y",
    "https://a.klaviyo.com#x",
    "https://a.klaviyo.com /x",
    " https://a.klaviyo.com",
    "https://a.klaviyo.com\r\nX: y",
    "https://a.klaviyo.com/\n",
    "https://gateway.example/a/../b",
    "https://gateway.example/%2e%2e",
    "https://m\xc3\xbcller.example",
    "http://[::1",
    "http://[::1%25lo]",
    "http://[::1]x",
    "http://[127.0.0.1]",
    "http://[]",
    "http://::1",
};

static void this_machine_is_recognised_and_nothing_that_looks_like_it(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < COUNT(here); i++) {
        print_message("%s\n", here[i]);
        assert_true(base_url_check(here[i], false, &err));
        assert_true(base_url_is_loopback(here[i]));
    }
    for (size_t i = 0; i < COUNT(elsewhere); i++) {
        print_message("%s\n", elsewhere[i]);
        assert_false(base_url_check(elsewhere[i], false, &err));
        assert_non_null(strstr(err.text, "another machine"));
        assert_true(base_url_check(elsewhere[i], true, &err));
        assert_false(base_url_is_loopback(elsewhere[i]));
    }
}

static void what_parsers_may_read_in_two_ways_is_refused(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < COUNT(malformed); i++) {
        print_message("%s\n", malformed[i]);
        assert_false(base_url_check(malformed[i], true, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_false(base_url_is_loopback(malformed[i]));
    }
}

static void a_gateway_has_a_port_and_a_path(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_true(base_url_check("https://a.klaviyo.com", false, &err));
    assert_true(base_url_check("https://gateway.example:8443/klaviyo-eu/v1.0/", false, &err));
    assert_true(base_url_check("https://[2001:db8::1]:8443", false, &err));
    assert_false(base_url_is_loopback("https://gateway.example:8443"));
    assert_true(base_url_is_loopback("https://localhost:8443"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_machine_is_recognised_and_nothing_that_looks_like_it),
        cmocka_unit_test(what_parsers_may_read_in_two_ways_is_refused),
        cmocka_unit_test(a_gateway_has_a_port_and_a_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
