/* What systemd is told, as it hears it: over a datagram socket of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "worker/service/systemd.h"

struct hearing {
    int fd;
    char folder[32];
    struct sockaddr_un address;
    char text[256]; /* heard last; "" for nothing */
};

static int set_up(void **state)
{
    struct hearing *h = calloc(1, sizeof *h);

    assert_non_null(h);
    (void)snprintf(h->folder, sizeof h->folder, "/tmp/supervisor-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    h->address.sun_family = AF_UNIX;
    (void)snprintf(h->address.sun_path, sizeof h->address.sun_path, "%s/notify", h->folder);
    h->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(h->fd >= 0);
    assert_int_equal(bind(h->fd, (struct sockaddr *)&h->address, sizeof h->address), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", h->address.sun_path, 1), 0);
    assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
    assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
    *state = h;
    return 0;
}

static int tear_down(void **state)
{
    struct hearing *h = *state;

    (void)close(h->fd);
    (void)unlink(h->address.sun_path);
    (void)rmdir(h->folder);
    free(h);
    return 0;
}

static const char *heard(struct hearing *h)
{
    ssize_t n = recv(h->fd, h->text, sizeof h->text - 1, 0);

    h->text[n > 0 ? n : 0] = '\0';
    return h->text;
}

static void it_hears_that_events_are_taken(void **state)
{
    systemd_notify_ready();
    assert_string_equal(heard(*state), "READY=1\nSTATUS=Taking events.");
}

static void it_gives_more_time_while_the_group_is_not_joined(void **state)
{
    struct systemd_notify systemd_notify = systemd_notify_init();
    int64_t now_ms = systemd_notify.notified_ms + 1;

    systemd_notify_starting(&systemd_notify, now_ms);
    const char *text = heard(*state);
    assert_non_null(strstr(text, "STATUS=Waiting for the database and the consumer group.\n"));
    assert_non_null(strstr(text, "EXTEND_TIMEOUT_USEC=60000000"));
    assert_null(strstr(text, "READY"));
    systemd_notify_starting(&systemd_notify, now_ms + 9999);
    assert_string_equal(heard(*state), "");
    systemd_notify_starting(&systemd_notify, now_ms + 10000);
    assert_non_null(strstr(heard(*state), "EXTEND_TIMEOUT_USEC"));
}

static void it_hears_how_long_a_stop_may_take(void **state)
{
    systemd_notify_stopping(50000);
    const char *text = heard(*state);
    assert_non_null(strstr(text, "STOPPING=1\n"));
    assert_non_null(strstr(text, "EXTEND_TIMEOUT_USEC=50000000"));
}

static void a_sign_of_life_comes_twice_in_its_patience(void **state)
{
    assert_int_equal(setenv("WATCHDOG_USEC", "3000000", 1), 0);
    struct systemd_notify systemd_notify = systemd_notify_init();
    int64_t since_ms = systemd_notify.notified_ms;

    assert_int_equal(systemd_notify.every_ms, 1500);
    systemd_notify_alive(&systemd_notify, since_ms + 1499);
    assert_string_equal(heard(*state), "");
    systemd_notify_alive(&systemd_notify, since_ms + 1500);
    assert_string_equal(heard(*state), "WATCHDOG=1");
    systemd_notify_alive(&systemd_notify, since_ms + 2999);
    assert_string_equal(heard(*state), "");
    systemd_notify_alive(&systemd_notify, since_ms + 3000);
    assert_string_equal(heard(*state), "WATCHDOG=1");
}

static void nobody_who_does_not_wait_is_told(void **state)
{
    struct systemd_notify systemd_notify = systemd_notify_init();

    systemd_notify_alive(&systemd_notify, systemd_notify.notified_ms + INT64_C(1000000));
    assert_string_equal(heard(*state), "");
}

static void the_patience_meant_for_another_process_is_not_ours(void **state)
{
    assert_int_equal(setenv("WATCHDOG_USEC", "3000000", 1), 0);
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0);
    struct systemd_notify systemd_notify = systemd_notify_init();

    systemd_notify_alive(&systemd_notify, systemd_notify.notified_ms + INT64_C(1000000));
    assert_string_equal(heard(*state), "");
}

static void without_a_socket_nothing_happens(void **state)
{
    (void)unsetenv("NOTIFY_SOCKET");
    systemd_notify_ready();
    systemd_notify_stopping(1000);
    assert_string_equal(heard(*state), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_hears_that_events_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_gives_more_time_while_the_group_is_not_joined, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(it_hears_how_long_a_stop_may_take, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sign_of_life_comes_twice_in_its_patience, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nobody_who_does_not_wait_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_patience_meant_for_another_process_is_not_ours, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_a_socket_nothing_happens, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
