#include "test_klaviyo_support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/strbuf.h"
#include "worker/klaviyo/client.h"
#include "worker/klaviyo/import_body.h"
#include "worker/klaviyo/import_errors.h"
#include "worker/klaviyo/klaviyo_list.h"
#include "worker/klaviyo/list_removal.h"

/*
 * A server that does to every request what the test told it, one thread for each
 * connection. It keeps the last request as it came.
 */
enum manner {
    REPLY,           /* writes `reply` and keeps the connection */
    REPLY_AND_CLOSE, /* writes it and closes */
    HANG,            /* never answers */
    HANG_UNREAD,     /* does not even read the body */
    RESET,           /* closes with a reset */
};

enum { REQUEST_MAX = 6 * 1000 * 1000, CONNECTIONS_MAX = 16, TIMEOUT_MS = 20000 };

#define OK_REPLY "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.api+json\r\n"
#define EMPTY OK_REPLY "Content-Length: 2\r\n\r\n{}"

struct server {
    int listener;
    char base_url[64];
    pthread_t acceptor;
    pthread_t threads[CONNECTIONS_MAX];
    int sockets[CONNECTIONS_MAX];
    atomic_int n_connections;
    atomic_int n_requests;
    atomic_int n_lost; /* connections that ended by a reset */

    pthread_mutex_t lock; /* for what follows */
    enum manner manner;
    const char *reply;
    size_t reply_bytes;
    char *request; /* the last one, head and body */
    size_t request_bytes;
};

struct connection {
    struct server *server;
    int fd;
    char *bytes;
    size_t n;
};

static void behave(struct server *server, enum manner manner, const char *reply)
{
    (void)pthread_mutex_lock(&server->lock);
    server->manner = manner;
    server->reply = reply;
    server->reply_bytes = reply ? strlen(reply) : 0;
    (void)pthread_mutex_unlock(&server->lock);
}

static enum manner manner_of(struct server *server)
{
    (void)pthread_mutex_lock(&server->lock);
    enum manner manner = server->manner;
    (void)pthread_mutex_unlock(&server->lock);
    return manner;
}

static bool read_more(struct connection *c)
{
    ssize_t n = recv(c->fd, c->bytes + c->n, REQUEST_MAX - c->n, 0);

    if (n < 0)
        atomic_fetch_add(&c->server->n_lost, 1);
    if (n <= 0)
        return false;
    c->n += (size_t)n;
    c->bytes[c->n] = '\0';
    return true;
}

static size_t length_of(const char *head)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");

    return field ? strtoull(field + strlen("\r\nContent-Length:"), NULL, 10) : 0;
}

/* One whole request, or only its head. False: the client has gone. */
static bool read_request(struct connection *c)
{
    const char *end;

    c->n = 0;
    c->bytes[0] = '\0';
    while (!(end = strstr(c->bytes, "\r\n\r\n")))
        if (!read_more(c))
            return false;
    if (manner_of(c->server) == HANG_UNREAD)
        return true;

    size_t whole = (size_t)(end + 4 - c->bytes) + length_of(c->bytes);
    while (c->n < whole)
        if (!read_more(c))
            return false;
    return true;
}

static void keep_request(struct connection *c)
{
    struct server *server = c->server;

    memcpy(server->request, c->bytes, c->n + 1);
    server->request_bytes = c->n;
}

static void wait_for_the_end(struct connection *c)
{
    struct pollfd gone = { .fd = c->fd, .events = POLLRDHUP };

    (void)poll(&gone, 1, TIMEOUT_MS);
    if (gone.revents & (POLLERR | POLLHUP))
        atomic_fetch_add(&c->server->n_lost, 1);
}

/* False: the connection is over. */
static bool answer_request(struct connection *c)
{
    static const struct linger none = { .l_onoff = 1 };
    struct server *server = c->server;

    (void)pthread_mutex_lock(&server->lock);
    enum manner manner = server->manner;
    keep_request(c);
    atomic_fetch_add(&server->n_requests, 1);
    if (manner == REPLY || manner == REPLY_AND_CLOSE)
        (void)send(c->fd, server->reply, server->reply_bytes, MSG_NOSIGNAL);
    (void)pthread_mutex_unlock(&server->lock);

    if (manner == HANG || manner == HANG_UNREAD)
        wait_for_the_end(c);
    if (manner == RESET)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    return manner == REPLY;
}

static void *serve(void *arg)
{
    struct connection *c = arg;

    while (read_request(c) && answer_request(c))
        ;
    (void)close(c->fd);
    free(c->bytes);
    free(c);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct server *server = arg;
    int fd;

    while ((fd = accept(server->listener, NULL, NULL)) >= 0) {
        int n = atomic_load(&server->n_connections);
        struct connection *c = calloc(1, sizeof *c);

        assert_true(c && n < CONNECTIONS_MAX);
        *c = (struct connection){ server, fd, calloc(1, REQUEST_MAX + 1), 0 };
        assert_non_null(c->bytes);
        assert_int_equal(pthread_create(&server->threads[n], NULL, serve, c), 0);
        atomic_store(&server->n_connections, n + 1);
    }
    return NULL;
}

static struct server *server_new(void)
{
    struct server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t n = sizeof address;

    assert_non_null(server);
    server->request = calloc(1, REQUEST_MAX + 1);
    assert_non_null(server->request);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(server->listener, 64), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &n), 0);
    (void)snprintf(server->base_url, sizeof server->base_url, "http://127.0.0.1:%d",
                   ntohs(address.sin_port));
    assert_int_equal(pthread_mutex_init(&server->lock, NULL), 0);
    behave(server, REPLY, EMPTY);
    assert_int_equal(pthread_create(&server->acceptor, NULL, accept_all, server), 0);
    return server;
}

/* After the client has closed its connections. */
static void server_free(struct server *server)
{
    (void)shutdown(server->listener, SHUT_RDWR);
    (void)pthread_join(server->acceptor, NULL);
    for (int i = 0; i < atomic_load(&server->n_connections); i++)
        (void)pthread_join(server->threads[i], NULL);
    (void)close(server->listener);
    (void)pthread_mutex_destroy(&server->lock);
    free(server->request);
    free(server);
}

struct world {
    struct server *server;
    struct client *client;
};

static struct client *client_of(const char *base_url, int64_t timeout_ms)
{
    const struct client_options options = { .base_url = base_url,
                                            .revision = "2026-10-15",
                                            .user_agent = "klaviyo-worker/0.0.0",
                                            .api_key = "pk_test",
                                            .timeout_ms = timeout_ms };
    struct error err = ERROR_INIT;
    struct client *client = client_new(&options, &err);

    assert_non_null(client);
    return client;
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    assert_non_null(world);
    world->server = server_new();
    world->client = client_of(world->server->base_url, TIMEOUT_MS);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;

    client_free(world->client);
    server_free(world->server);
    free(world);
    return 0;
}

static struct response call(struct client *client, const struct request *request)
{
    struct error err = ERROR_INIT;
    struct response response = RESPONSE_INIT;

    assert_true(client_start(client, request, NULL, &err));
    while (!client_next(client, &response))
        assert_true(client_wait(client, TIMEOUT_MS, -1, &err));
    return response;
}

static void start(struct client *client, const struct request *request, void *tag)
{
    struct error err = ERROR_INIT;

    assert_true(client_start(client, request, tag, &err));
}

static void wait_ms(struct client *client, int64_t ms, int wake_fd)
{
    struct error err = ERROR_INIT;

    assert_true(client_wait(client, ms, wake_fd, &err));
}

/* Until the server has seen so many requests: moves bytes meanwhile. */
static void wait_for_requests(struct world *world, int n)
{
    int64_t until = clock_ms() + TIMEOUT_MS;

    while (atomic_load(&world->server->n_requests) < n) {
        assert_true(clock_ms() < until);
        wait_ms(world->client, 5, -1);
    }
}

static const struct request accounts = { .endpoint = ENDPOINT_ACCOUNTS };

static void each_request_carries_key_revision_and_name(void **state)
{
    static const char *const wanted[] = {
        "GET /api/lists/YafG4m HTTP/1.1\r\n",
        "\r\nAuthorization: Klaviyo-API-Key pk_test\r\n",
        "\r\nrevision: 2026-10-15\r\n",
        "\r\nUser-Agent: klaviyo-worker/0.0.0\r\n",
        "\r\nAccept: application/vnd.api+json\r\n",
        "\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
    };
    struct world *world = *state;
    struct request request = klaviyo_list_request("YafG4m");

    request.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    CLEANUP(response_release) struct response response = call(world->client, &request);
    assert_int_equal(response.transport, TRANSPORT_ANSWERED);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_non_null(strstr(world->server->request, wanted[i]));
    assert_null(strstr(world->server->request, "Content-Type"));
}

/* What is not a header's is not sent: the request goes without its trace. */
static void nobody_writes_a_line_into_the_head_of_a_request(void **state)
{
    static const char *const traces[] = {
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\r\nX-Evil: injected",
        "00-4bf92f3577b34da6a3ce929d0e0e4736\n\nDELETE /api/lists/LA HTTP/1.1",
        "\r",
        "\x01",
        "\x7f",
        "\xc2\x9b",
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof traces / sizeof traces[0]; i++) {
        struct request request = klaviyo_list_request("Yaf\r\nX-Evil: injected");

        request.traceparent = traces[i];
        CLEANUP(response_release) struct response response = call(world->client, &request);
        assert_int_equal(response.transport, TRANSPORT_ANSWERED);
        assert_non_null(strstr(world->server->request, "/Yaf%0d%0aX-Evil%3a%20injected HTTP"));
        assert_null(strstr(world->server->request, "traceparent"));
        assert_null(strstr(world->server->request, "\nX-Evil"));
        assert_null(strstr(world->server->request, "DELETE"));
    }
}

static void no_setting_writes_a_line_into_the_head_of_a_request(void **state)
{
    static const char bad[] = "2026-10-15.\r\nX-Evil: injected";
    const struct {
        const char *revision, *user_agent, *api_key;
    } cases[] = {
        { bad, "klaviyo-worker/0.0.0", "pk_test" },
        { "2026-10-15", bad, "pk_test" },
        { "2026-10-15", "x", "pk_test\r\nX-Evil: 1" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct client_options options = { .base_url = "https://a.klaviyo.com",
                                                .revision = cases[i].revision,
                                                .user_agent = cases[i].user_agent,
                                                .api_key = cases[i].api_key,
                                                .timeout_ms = TIMEOUT_MS };
        struct error err = ERROR_INIT;

        assert_null(client_new(&options, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
        assert_null(strstr(err.text, "Evil"));
    }
}

static void an_answer_is_handed_over_as_it_came(void **state)
{
    static const char reply[] = "HTTP/1.1 429 Too Many Requests\r\n"
                                "Content-Type: application/vnd.api+json; x=y\r\n"
                                "retry-after: 17\r\nContent-Length: 11\r\n\r\n{\"errors\":7";
    struct world *world = *state;

    behave(world->server, REPLY, reply);
    CLEANUP(response_release) struct response response = call(world->client, &accounts);
    assert_int_equal(response.transport, TRANSPORT_ANSWERED);
    assert_int_equal(response.endpoint, ENDPOINT_ACCOUNTS);
    assert_int_equal(response.status, 429);
    assert_string_equal(response.content_type, "application/vnd.api+json; x=y");
    assert_string_equal(response.retry_after, "17");
    assert_string_equal(response.body, "{\"errors\":7");
    assert_int_equal(response.body_bytes, 11);
    assert_true(response.duration_ms >= 0 && response.duration_ms < TIMEOUT_MS);
    assert_string_equal(response.why, "");
}

static void a_key_that_is_repeated_is_not_handed_over(void **state)
{
    static const char reply[] = "HTTP/1.1 422 Unprocessable\r\nContent-Length: 26\r\n\r\n"
                                "{\"pk_test\":\"is pk_testpk\"}";
    struct world *world = *state;

    behave(world->server, REPLY, reply);
    CLEANUP(response_release) struct response response = call(world->client, &accounts);
    assert_string_equal(response.body, "{\"*******\":\"is *******pk\"}");
}

static void a_large_body_arrives_whole_and_without_a_pause(void **state)
{
    struct world *world = *state;
    size_t n = IMPORT_BODY_MAX_BYTES - import_body_frame_bytes("YafG4m");
    char *rows = malloc(n);
    CLEANUP(strbuf_release) struct strbuf tail = STRBUF_INIT(1000);

    assert_non_null(rows);
    for (size_t i = 0; i < n; i++)
        rows[i] = (char)('a' + i % 26);
    import_body_add_tail(&tail, "YafG4m");
    struct request request = import_body_request(rows, n, &tail);
    CLEANUP(response_release) struct response response = call(world->client, &request);

    assert_int_equal(response.status, 200);
    assert_true(response.duration_ms < 900); /* curl waits 1 s for a "100 Continue" */
    assert_non_null(
        strstr(world->server->request, "\r\nContent-Type: application/vnd.api+json\r\n"));
    assert_null(strstr(world->server->request, "\r\nExpect:"));
    const char *body = strstr(world->server->request, "\r\n\r\n") + 4;
    size_t head = strlen(import_body_head);
    assert_int_equal(world->server->request + world->server->request_bytes - body,
                     IMPORT_BODY_MAX_BYTES);
    assert_memory_equal(body, import_body_head, head);
    assert_memory_equal(body + head, rows, n);
    assert_string_equal(body + head + n, tail.data);
    free(rows);
}

static void a_plus_arrives_as_one(void **state)
{
    struct world *world = *state;
    struct request request = { .endpoint = ENDPOINT_JOBS,
                               .query = { { "filter", "equals(email,\"ada+x@shop.example\")" } } };
    CLEANUP(response_release) struct response response = call(world->client, &request);

    assert_int_equal(response.status, 200);
    assert_non_null(strcasestr(world->server->request, "ada%2bx%40shop.example"));
}

static void connections_are_used_again(void **state)
{
    struct world *world = *state;

    for (int i = 0; i < 5; i++) {
        CLEANUP(response_release) struct response response = call(world->client, &accounts);

        assert_int_equal(response.status, 200);
    }
    assert_int_equal(atomic_load(&world->server->n_requests), 5);
    assert_int_equal(atomic_load(&world->server->n_connections), 1);
}

static void a_removal_is_a_delete_with_a_body(void **state)
{
    struct world *world = *state;
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(1000);

    list_removal_begin(&body);
    list_removal_add(&body, "01M1");
    list_removal_end(&body);
    struct request request = list_removal_request("YafG4m", &body);
    behave(world->server, REPLY, "HTTP/1.1 204 No Content\r\n\r\n");
    CLEANUP(response_release) struct response response = call(world->client, &request);

    assert_int_equal(response.status, 204);
    const char *sent = world->server->request;
    assert_ptr_equal(strstr(sent, "DELETE /api/lists/YafG4m/relationships/profiles HTTP/1.1\r\n"),
                     sent);
    assert_non_null(strstr(sent, "Content-Type: application/vnd.api+json\r\n"));
    assert_non_null(strstr(sent, "Content-Length: 41\r\n"));
    assert_non_null(strstr(sent, "{\"data\":[{\"type\":\"profile\",\"id\":\"01M1\"}]}"));
}

static void a_redirect_is_an_answer_like_any_other(void **state)
{
    struct world *world = *state;

    behave(world->server, REPLY,
           "HTTP/1.1 302 Found\r\nLocation: /api/elsewhere\r\nContent-Length: 0\r\n\r\n");
    CLEANUP(response_release) struct response response = call(world->client, &accounts);
    assert_int_equal(response.transport, TRANSPORT_ANSWERED);
    assert_int_equal(response.status, 302);
    assert_null(response.body);
    assert_int_equal(atomic_load(&world->server->n_requests), 1);
}

static void a_request_that_is_not_answered_times_out(void **state)
{
    struct world *world = *state;
    CLEANUP(client_freep) struct client *hasty = client_of(world->server->base_url, 100);

    behave(world->server, HANG, NULL);
    CLEANUP(response_release) struct response response = call(hasty, &accounts);
    assert_int_equal(response.transport, TRANSPORT_TIMED_OUT);
    assert_int_equal(response.status, 0);
    assert_true(response.duration_ms >= 100 && response.duration_ms < TIMEOUT_MS);
    assert_non_null(strstr(response.why, "timed out"));
}

static void nobody_there_is_unreachable(void **state)
{
    struct world *world = *state;
    struct server *gone = server_new();
    CLEANUP(client_freep) struct client *client = client_of(gone->base_url, TIMEOUT_MS);

    (void)world;
    server_free(gone);
    CLEANUP(response_release) struct response response = call(client, &accounts);
    assert_int_equal(response.transport, TRANSPORT_UNREACHABLE);
    assert_true(response.why[0] != '\0');
}

static void a_cut_answer_is_broken(void **state)
{
    static const struct {
        const char *reply;
        enum manner manner;
        int status;
    } cases[] = {
        { NULL, RESET, 0 },
        { "", REPLY_AND_CLOSE, 0 },
        { "HTTP/1.1 20", REPLY_AND_CLOSE, 0 },
        { "not HTTP at all", REPLY_AND_CLOSE, 0 },
        { OK_REPLY "Content-Length: 100\r\n\r\n{\"data\":", REPLY_AND_CLOSE, 200 },
        { OK_REPLY "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"dat\r\n", REPLY_AND_CLOSE, 200 },
    };
    struct world *world = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        behave(world->server, cases[i].manner, cases[i].reply);
        CLEANUP(response_release) struct response response = call(world->client, &accounts);
        print_message("%s\n", response.why);
        assert_int_equal(response.transport, TRANSPORT_BROKEN);
        assert_null(response.body);
        if (cases[i].status)
            assert_int_equal(response.status, cases[i].status);
    }
    assert_int_equal(atomic_load(&world->server->n_requests), sizeof cases / sizeof cases[0]);
}

static void an_endless_answer_is_given_up(void **state)
{
    struct world *world = *state;
    size_t n = sizeof OK_REPLY - 1 + 2 + RESPONSE_BODY_MAX_BYTES + 2;
    char *reply = malloc(n + 1);

    assert_non_null(reply);
    (void)snprintf(reply, n + 1, "%s\r\n", OK_REPLY);
    memset(reply + sizeof OK_REPLY - 1 + 2, ' ', n - (sizeof OK_REPLY - 1 + 2));
    reply[n] = '\0';
    behave(world->server, REPLY_AND_CLOSE, reply);
    CLEANUP(response_release) struct response response = call(world->client, &accounts);
    assert_int_equal(response.transport, TRANSPORT_OVERSIZE);
    assert_int_equal(response.status, 200);
    assert_null(response.body);
    behave(world->server, REPLY, EMPTY); /* once it is not sending any more */
    free(reply);
}

/* A kept connection that turns out to be closed: curl would send it again by itself. */
static void a_request_is_never_sent_twice(void **state)
{
    struct world *world = *state;
    CLEANUP(response_release) struct response first = call(world->client, &accounts);
    assert_int_equal(first.status, 200);

    behave(world->server, REPLY_AND_CLOSE, "");
    CLEANUP(response_release) struct response second = call(world->client, &accounts);
    assert_int_equal(second.transport, TRANSPORT_BROKEN);
    assert_int_equal(atomic_load(&world->server->n_requests), 2);
}

static void a_body_is_never_sent_twice(void **state)
{
    struct world *world = *state;
    CLEANUP(strbuf_release) struct strbuf tail = STRBUF_INIT(1000);

    import_body_add_tail(&tail, "YafG4m");
    struct request request = import_body_request("{}", 2, &tail);
    CLEANUP(response_release) struct response first = call(world->client, &request);
    assert_int_equal(first.status, 200);

    behave(world->server, REPLY_AND_CLOSE, "");
    CLEANUP(response_release) struct response second = call(world->client, &request);
    assert_int_equal(second.transport, TRANSPORT_BROKEN);
    assert_int_equal(atomic_load(&world->server->n_requests), 2);
}

static void many_are_in_flight_and_each_answer_finds_its_way_back(void **state)
{
    struct world *world = *state;
    int tags[5];
    bool seen[5] = { false };

    behave(world->server, REPLY_AND_CLOSE, EMPTY);
    for (int i = 0; i < 5; i++)
        start(world->client, &accounts, &tags[i]);
    assert_int_equal(client_in_flight(world->client), 5);
    for (int i = 0; i < 5;) {
        CLEANUP(response_release) struct response response = RESPONSE_INIT;

        wait_ms(world->client, TIMEOUT_MS, -1);
        if (!client_next(world->client, &response))
            continue;
        seen[(int *)response.tag - tags] = true;
        i++;
        assert_int_equal(client_in_flight(world->client), (size_t)(5 - i));
    }
    for (int i = 0; i < 5; i++)
        assert_true(seen[i]);
}

static void waiting_ends_when_it_is_woken(void **state)
{
    struct world *world = *state;
    int wake_fd = eventfd(1, EFD_CLOEXEC);
    int64_t begun = clock_ms();

    behave(world->server, HANG, NULL);
    start(world->client, &accounts, NULL);
    wait_for_requests(world, 1);
    wait_ms(world->client, TIMEOUT_MS, wake_fd);
    assert_true(clock_ms() - begun < TIMEOUT_MS);
    assert_int_equal(client_in_flight(world->client), 1);
    (void)close(wake_fd);
}

static void waiting_ends_in_time(void **state)
{
    struct world *world = *state;
    int64_t begun = clock_ms();

    wait_ms(world->client, 30, -1);
    assert_true(clock_ms() - begun >= 29);
    wait_ms(world->client, 0, -1);
}

/* What the server has not read of a body must never reach it. */
static void an_abort_takes_back_what_was_not_read(void **state)
{
    struct world *world = *state;
    size_t n = IMPORT_BODY_MAX_BYTES / 2;
    char *rows = calloc(1, n);
    CLEANUP(strbuf_release) struct strbuf tail = STRBUF_INIT(1000);

    assert_non_null(rows);
    behave(world->server, HANG_UNREAD, NULL);
    import_body_add_tail(&tail, "YafG4m");
    struct request request = import_body_request(rows, n, &tail);
    start(world->client, &request, NULL);
    wait_for_requests(world, 1);

    client_abort_all(world->client);
    free(rows); /* no longer lent */
    assert_int_equal(client_in_flight(world->client), 0);
    int64_t until = clock_ms() + TIMEOUT_MS;
    while (atomic_load(&world->server->n_lost) == 0)
        assert_true(clock_ms() < until && usleep(1000) == 0);

    behave(world->server, REPLY, EMPTY);
    CLEANUP(response_release) struct response response = call(world->client, &accounts);
    assert_int_equal(response.status, 200); /* it works on */
}

static void an_abort_drops_answers_that_nobody_took(void **state)
{
    struct world *world = *state;
    struct response response = RESPONSE_INIT;

    start(world->client, &accounts, NULL);
    wait_ms(world->client, TIMEOUT_MS, -1);
    client_abort_all(world->client);
    assert_int_equal(client_in_flight(world->client), 0);
    assert_false(client_next(world->client, &response));
}

static void a_link_elsewhere_begins_no_request(void **state)
{
    struct world *world = *state;
    struct request request = import_error_request("am9iLTE", "http://127.0.0.2/api?c=1");
    struct error err = ERROR_INIT;

    assert_false(client_start(world->client, &request, NULL, &err));
    assert_int_equal(err.kind, ERROR_RETRY);
    assert_int_equal(client_in_flight(world->client), 0);
}

static void a_client_refuses_a_bad_place_and_a_bad_key(void **state)
{
    static const char *const bad[][2] = {
        { "http://klaviyo.example", "pk_test" },
        { "https://a.klaviyo.com", "AbC123" },
        { "https://a.klaviyo.com", "pk_test\r\nx: y" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct client_options options = { .base_url = bad[i][0],
                                                .revision = "2026-10-15",
                                                .user_agent = "klaviyo-worker/0.0.0",
                                                .api_key = bad[i][1],
                                                .timeout_ms = 1000 };
        struct error err = ERROR_INIT;

        assert_null(client_new(&options, &err));
        assert_int_equal(err.kind, ERROR_INPUT);
    }
}

/* It would get the key, which is not encrypted on the way to this machine. */
static void no_proxy_stands_between_us_and_this_machine(void **state)
{
    struct world *world = *state;

    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    (void)setenv("all_proxy", "http://127.0.0.1:1", 1);
    CLEANUP(response_release) struct response response = call(world->client, &accounts);
    (void)unsetenv("http_proxy");
    (void)unsetenv("all_proxy");
    assert_int_equal(response.transport, TRANSPORT_ANSWERED);
}

static void a_proxy_that_is_malformed_is_named_without_its_password(void **state)
{
    static const char *const proxies[] = { "http://user:sesame@proxy:99:99",
                                           "http://user:sesame@pro xy:3128",
                                           "gopher://user:sesame@proxy:3128",
                                           "http://user:ses%ame@[::1" };
    const struct client_options options = { .base_url = "http://klaviyo.invalid",
                                            .revision = "2026-10-15",
                                            .user_agent = "klaviyo-worker/0.0.0",
                                            .api_key = "pk_test",
                                            .timeout_ms = TIMEOUT_MS,
                                            .allow_http = true };
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof proxies / sizeof proxies[0]; i++) {
        CLEANUP(client_freep) struct client *client = client_new(&options, &err);

        assert_non_null(client);
        (void)setenv("http_proxy", proxies[i], 1);
        CLEANUP(response_release) struct response response = call(client, &accounts);
        (void)unsetenv("http_proxy");
        print_message("%s\n", response.why);
        assert_true(response.transport != TRANSPORT_ANSWERED);
        assert_null(strstr(response.why, "ses"));
        assert_non_null(strstr(response.why, "proxy"));
    }
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(each_request_carries_key_revision_and_name),
        WITH_SERVER(nobody_writes_a_line_into_the_head_of_a_request),
        cmocka_unit_test(no_setting_writes_a_line_into_the_head_of_a_request),
        WITH_SERVER(an_answer_is_handed_over_as_it_came),
        WITH_SERVER(a_key_that_is_repeated_is_not_handed_over),
        WITH_SERVER(a_large_body_arrives_whole_and_without_a_pause),
        WITH_SERVER(a_plus_arrives_as_one),
        WITH_SERVER(connections_are_used_again),
        WITH_SERVER(a_removal_is_a_delete_with_a_body),
        WITH_SERVER(a_redirect_is_an_answer_like_any_other),
        WITH_SERVER(a_request_that_is_not_answered_times_out),
        WITH_SERVER(no_proxy_stands_between_us_and_this_machine),
        cmocka_unit_test(a_proxy_that_is_malformed_is_named_without_its_password),
        WITH_SERVER(nobody_there_is_unreachable),
        WITH_SERVER(a_cut_answer_is_broken),
        WITH_SERVER(an_endless_answer_is_given_up),
        WITH_SERVER(a_request_is_never_sent_twice),
        WITH_SERVER(a_body_is_never_sent_twice),
        WITH_SERVER(many_are_in_flight_and_each_answer_finds_its_way_back),
        WITH_SERVER(waiting_ends_when_it_is_woken),
        WITH_SERVER(waiting_ends_in_time),
        WITH_SERVER(an_abort_takes_back_what_was_not_read),
        WITH_SERVER(an_abort_drops_answers_that_nobody_took),
        WITH_SERVER(a_link_elsewhere_begins_no_request),
        cmocka_unit_test(a_client_refuses_a_bad_place_and_a_bad_key),
    };
    struct error err = ERROR_INIT;

    if (!client_library_init(&err))
        return EXIT_FAILURE;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    client_library_release();
    return failed;
}
