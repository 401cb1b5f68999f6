#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "worker/http/http_connections.h"

enum { START = 10000, NO_SOCKET = -1 };

static struct http_connection *come(struct http_connections *http_connections, const char *from,
                                    int64_t now_ms)
{
    struct sockaddr_in address = { .sin_family = AF_INET };

    assert_int_equal(inet_pton(AF_INET, from, &address.sin_addr), 1);
    struct http_connection *http_connection = http_connections_add(
        http_connections, NO_SOCKET, (const struct sockaddr *)&address, now_ms);
    assert_non_null(http_connection);
    return http_connection;
}

static void all_go(struct http_connections *http_connections)
{
    while (!TAILQ_EMPTY(&http_connections->all))
        http_connections_remove(http_connections, TAILQ_FIRST(&http_connections->all));
    assert_int_equal(http_connections->n, 0);
}

static void a_connection_is_cut_off_at_the_deadline_of_its_connection(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 0);
    struct http_connection *first = come(&http_connections, "127.0.0.1", START);
    struct http_connection *second = come(&http_connections, "127.0.0.1", START + 1);

    (void)state;
    assert_int_equal(http_connections_next_ms(&http_connections),
                     START + HTTP_CONNECTIONS_LIFETIME_MS);
    http_connections_evict(&http_connections, START + HTTP_CONNECTIONS_LIFETIME_MS - 1);
    assert_false(first->cut);
    http_connections_evict(&http_connections, START + HTTP_CONNECTIONS_LIFETIME_MS);
    assert_true(first->cut);
    assert_false(second->cut);
    assert_int_equal(http_connections_next_ms(&http_connections),
                     START + 1 + HTTP_CONNECTIONS_LIFETIME_MS);
    http_connections_evict(&http_connections, START + HTTP_CONNECTIONS_LIFETIME_MS);
    assert_int_equal(http_connections.cut_late, 1);
    all_go(&http_connections);
    assert_int_equal(http_connections_next_ms(&http_connections), INT64_MAX);
}

static void an_old_connection_or_one_of_many_gets_its_last_answer(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 0);
    struct http_connection *http_connection = come(&http_connections, "127.0.0.1", START);

    (void)state;
    assert_false(http_connections_should_close(&http_connections, http_connection,
                                               START + HTTP_CONNECTIONS_LAST_RESPONSE_MS - 1));
    assert_true(http_connections_should_close(&http_connections, http_connection,
                                              START + HTTP_CONNECTIONS_LAST_RESPONSE_MS));
    for (int i = 0; i < HTTP_CONNECTIONS_PER_ADDRESS / 2; i++)
        (void)come(&http_connections, "127.0.0.1", START);
    assert_true(http_connections_should_close(&http_connections, http_connection, START));
    all_go(&http_connections);
}

static void slow_ones_beyond_an_addresss_share_go_after_a_moment(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 0);
    struct http_connection *other = come(&http_connections, "10.0.0.1", START);

    (void)state;
    for (int i = 0; i < HTTP_CONNECTIONS_PER_ADDRESS + 7; i++)
        (void)come(&http_connections, "127.0.0.1", START);
    http_connections_evict(&http_connections, START + HTTP_CONNECTIONS_GRACE_MS - 1);
    assert_int_equal(http_connections.cut_over_capacity, 0);
    http_connections_evict(&http_connections,
                           START + HTTP_CONNECTIONS_GRACE_MS + HTTP_CONNECTIONS_EVICT_EVERY_MS);
    assert_int_equal(http_connections.cut_over_capacity, 7);
    assert_true(TAILQ_NEXT(other, entry)->cut);
    assert_false(other->cut);
    assert_false(TAILQ_LAST(&http_connections.all, http_connection_list)->cut);
    all_go(&http_connections);
}

static void over_capacity_those_go_at_once_who_have_had_their_answer(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 0);
    struct http_connection *waits = come(&http_connections, "127.0.0.1", START - 1000);

    (void)state;
    waits->waiting_ms = START - 1000;
    for (int i = 0; i < HTTP_CONNECTIONS_PER_ADDRESS; i++)
        (void)come(&http_connections, "127.0.0.1", START);
    TAILQ_LAST(&http_connections.all, http_connection_list)->answered = true;
    http_connections_evict(&http_connections, START);
    assert_int_equal(http_connections.cut_over_capacity, 1);
    assert_true(TAILQ_LAST(&http_connections.all, http_connection_list)->cut);
    all_go(&http_connections);
}

static void many_addresses_together_have_a_bound_too(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 0);
    char from[32];

    (void)state;
    for (int i = 0; i < HTTP_CONNECTIONS_OVER_CAPACITY + 5; i++) {
        (void)snprintf(from, sizeof from, "10.1.%d.%d", i / 200, i % 200);
        (void)come(&http_connections, from, START);
    }
    http_connections_evict(&http_connections, START + HTTP_CONNECTIONS_GRACE_MS);
    assert_int_equal(http_connections.cut_over_capacity, 5);
    all_go(&http_connections);
}

static void a_connection_in_the_middle_can_leave(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 0);
    struct http_connection *first = come(&http_connections, "127.0.0.1", START);
    struct http_connection *middle = come(&http_connections, "127.0.0.1", START);
    struct http_connection *last = come(&http_connections, "127.0.0.1", START);

    (void)state;
    http_connections_remove(&http_connections, middle);
    assert_ptr_equal(TAILQ_NEXT(first, entry), last);
    assert_ptr_equal(TAILQ_PREV(last, http_connection_list, entry), first);
    http_connections_remove(&http_connections, last);
    assert_ptr_equal(TAILQ_LAST(&http_connections.all, http_connection_list), first);
    all_go(&http_connections);
}

/* Whoever asks never takes the descriptors that runs need. */
static void few_descriptors_make_few_places(void **state)
{
    struct http_connections http_connections;

    http_connections_init(&http_connections, 16);

    (void)state;
    assert_int_equal(http_connections_places(UINT64_MAX), HTTP_CONNECTIONS_MAX);
    assert_int_equal(http_connections_places(1024), 128);
    assert_int_equal(http_connections_places(64), 8);
    assert_int_equal(http_connections_places(0), HTTP_CONNECTIONS_LEAST);
    for (int i = 0; i < 7; i++)
        (void)come(&http_connections, "127.0.0.1", START);
    http_connections_evict(&http_connections, START + HTTP_CONNECTIONS_GRACE_MS);
    assert_int_equal(http_connections.cut_over_capacity, 3); /* a quarter may stay */
    all_go(&http_connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_cut_off_at_the_deadline_of_its_connection),
        cmocka_unit_test(an_old_connection_or_one_of_many_gets_its_last_answer),
        cmocka_unit_test(slow_ones_beyond_an_addresss_share_go_after_a_moment),
        cmocka_unit_test(over_capacity_those_go_at_once_who_have_had_their_answer),
        cmocka_unit_test(many_addresses_together_have_a_bound_too),
        cmocka_unit_test(a_connection_in_the_middle_can_leave),
        cmocka_unit_test(few_descriptors_make_few_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
