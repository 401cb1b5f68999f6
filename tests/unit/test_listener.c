#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/http/listener.h"

static struct listener opened(const char *where)
{
    struct listener listener = { .fd = -1 };
    struct error err = ERROR_INIT;

    if (!listener_open(&listener, where, &err))
        fail_msg("%s: %s", where, err.text);
    return listener;
}

static bool accepts_ipv4(const struct listener *listener)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons(listener->port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;

    (void)close(fd);
    return ok;
}

static bool accepts_ipv6(const struct listener *listener)
{
    const struct sockaddr_in6 to = { .sin6_family = AF_INET6,
                                     .sin6_port = htons(listener->port),
                                     .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool ok = connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;

    (void)close(fd);
    return ok;
}

/* Without it, there is one family to be tried. */
static bool host_has_ipv6_loopback(void)
{
    const struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool ok = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;

    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static void every_address_is_one_of_both_families(void **state)
{
    static const char *const every[] = { "[::]:0", "*:0" };

    (void)state;
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        struct listener listener = opened(every[i]);

        assert_true(listener.port > 0);
        assert_true(accepts_ipv4(&listener));
        assert_true(!host_has_ipv6_loopback() || accepts_ipv6(&listener));
        (void)close(listener.fd);
    }
}

static void one_address_is_that_address_alone(void **state)
{
    struct listener listener = opened("127.0.0.1:0");

    (void)state;
    assert_string_equal(listener.address, "127.0.0.1");
    assert_true(accepts_ipv4(&listener));
    assert_false(accepts_ipv6(&listener));
    (void)close(listener.fd);
}

static void what_cannot_be_bound_is_named_with_what_to_do(void **state)
{
    static const char *const wrong[] = { "no-colon", ":1", "127.0.0.1:x", "[::1:80",
                                         "192.0.2.1:0" };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct listener listener = { .fd = -1 };
        struct error err = ERROR_INIT;

        assert_false(listener_open(&listener, wrong[i], &err));
        assert_non_null(strstr(err.text, wrong[i]));
        assert_int_equal(listener.fd, -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_address_is_one_of_both_families),
        cmocka_unit_test(one_address_is_that_address_alone),
        cmocka_unit_test(what_cannot_be_bound_is_named_with_what_to_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
