#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "worker/store/db.h"

/* A server that says nothing to anybody before all whom it expects have come. */
enum { WANTED = 3, NOBODY = -1 };

struct server {
    pthread_t thread;
    int listening;
    char url[128];
    int refused; /* which of them it does not let in */
    int unheard; /* which of them it says nothing to */
    int left;    /* written: how many closed their connection */
};

static const char hello[] = "R\0\0\0\10\0\0\0\0Z\0\0\0\5I";
static const char no_room[] = "E\0\0\0\27SFATAL\0C53300\0Mno\0\0";

static void answer(const struct server *server, int fd, int i)
{
    char startup[1024];

    if (recv(fd, startup, sizeof startup, 0) <= 0)
        return; /* it has given up */
    if (i == server->refused)
        (void)send(fd, no_room, sizeof no_room - 1, MSG_NOSIGNAL);
    else if (i != server->unheard)
        (void)send(fd, hello, sizeof hello - 1, MSG_NOSIGNAL);
}

static void *server_main(void *argument)
{
    struct server *server = argument;
    int fds[WANTED];
    char bytes[1024];

    for (int i = 0; i < WANTED; i++)
        fds[i] = accept(server->listening, NULL, NULL);
    for (int i = 0; i < WANTED; i++)
        answer(server, fds[i], i);
    for (int i = 0; i < WANTED; i++) {
        while (recv(fds[i], bytes, sizeof bytes, 0) > 0)
            ;
        server->left++;
        (void)close(fds[i]);
    }
    return NULL;
}

static void server_start(struct server *server)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;

    server->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listening, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->listening, WANTED), 0);
    assert_int_equal(getsockname(server->listening, (struct sockaddr *)&address, &len), 0);
    (void)snprintf(server->url, sizeof server->url,
                   "host=127.0.0.1 port=%d user=u dbname=d sslmode=disable gssencmode=disable"
                   " connect_timeout=1",
                   ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static void server_stop(struct server *server)
{
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listening);
    assert_int_equal(server->left, WANTED);
}

static bool open_three(const struct server *server, struct db *dbs[WANTED], const int *stop_fd,
                       struct error *err)
{
    const struct db_options how = {
        .url = { .text = server->url }, .name = "test", .service = true, .stop_fd = stop_fd
    };
    struct db **const all[WANTED] = { &dbs[0], &dbs[1], &dbs[2] };

    return db_open_together(all, WANTED, &how, err);
}

static void several_are_opened_at_the_same_time(void **state)
{
    struct server server = { .refused = NOBODY, .unheard = NOBODY };
    struct db *dbs[WANTED] = { NULL };
    struct error err = ERROR_INIT;

    (void)state;
    server_start(&server);
    if (!open_three(&server, dbs, NULL, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < WANTED; i++) {
        assert_true(db_is_up(dbs[i]));
        db_free(dbs[i]);
    }
    server_stop(&server);
}

/* What the server says or does not say to one of them; none is left open then. */
static void fail_to_open(struct server server, const int *stop_fd, const char *words)
{
    struct db *dbs[WANTED] = { NULL };
    struct error err = ERROR_INIT;

    server_start(&server);
    assert_false(open_three(&server, dbs, stop_fd, &err));
    server_stop(&server);
    assert_int_equal(err.kind, ERROR_RETRY);
    if (!strstr(err.text, words))
        fail_msg("%s", err.text);
    for (int i = 0; i < WANTED; i++)
        assert_null(dbs[i]);
}

static void none_is_open_where_one_is_refused(void **state)
{
    (void)state;
    for (int i = 0; i < WANTED; i++)
        fail_to_open((struct server){ .refused = i, .unheard = NOBODY }, NULL,
                     "no connection free");
}

static void nor_where_one_gets_no_response_in_its_time(void **state)
{
    (void)state;
    fail_to_open((struct server){ .refused = NOBODY, .unheard = 1 }, NULL, "no response in time");
}

static void nor_where_waiting_for_one_is_broken_off(void **state)
{
    int stop[2];
    int64_t began_ms = clock_ms();

    (void)state;
    assert_int_equal(pipe(stop), 0);
    assert_int_equal(write(stop[1], "", 1), 1);
    fail_to_open((struct server){ .refused = NOBODY, .unheard = 2 }, &stop[0], "broken off");
    assert_in_range(clock_ms() - began_ms, 0, 999);
    (void)close(stop[0]);
    (void)close(stop[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_are_opened_at_the_same_time),
        cmocka_unit_test(none_is_open_where_one_is_refused),
        cmocka_unit_test(nor_where_one_gets_no_response_in_its_time),
        cmocka_unit_test(nor_where_waiting_for_one_is_broken_off),
    };

    assert_true(sodium_init() >= 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
