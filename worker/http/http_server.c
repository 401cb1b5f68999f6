#include "worker/http/http_server.h"

#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/wakeup.h"
#include "worker/http/http_connections.h"

enum {
    HEADERS_MAX_BYTES = 8 * 1024, /* of a request, all together; 431 beyond */
    IDLE_SECONDS = 10,            /* without a byte in or out */
    LATER_MS = 2000,              /* how long a request waits for an answer */
    LATER_MAX = 64,               /* how many may wait; others get what there is */
    TURN_MS = 1000,
};

struct http_server {
    struct http_ports ports;
    struct MHD_Daemon *daemon;
    int wakeup_fd;
    pthread_t thread;
    atomic_bool stop;
    struct http_connections http_connections; /* of the thread */
    int waiting;                              /* of them */
    int64_t requests[4];
};

/* ---- connections ---- */

/*
 * What the library returns about a connection is valid until the next such call, for
 * any of them: from 1.0 on all results share one buffer. So each is copied at once.
 */
static struct http_connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

static int socket_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    return info ? info->connect_fd : -1;
}

static const struct sockaddr *address_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    return info ? info->client_addr : NULL;
}

static struct http_connection *add_connection(struct http_server *server,
                                              struct MHD_Connection *connection)
{
    const struct sockaddr *address = address_of(connection);
    int fd = socket_of(connection);

    if (fd < 0 || !address)
        return NULL;
    struct http_connection *http_connection =
        http_connections_add(&server->http_connections, fd, address, clock_ms());
    if (http_connection)
        http_connection->connection = connection;
    return http_connection;
}

static void on_connection(void *opaque, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = opaque;

    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = add_connection(server, connection);
    } else if (*context) {
        http_connections_remove(&server->http_connections, *context);
        *context = NULL;
    }
}

static void on_completed(void *opaque, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode why)
{
    struct http_connection *http_connection = connection_of(connection);

    (void)opaque;
    (void)slot;
    (void)why;
    if (!http_connection)
        return;
    http_connection->answered = true;
    http_connection->waited_ms = 0;
}

/* ---- answers ---- */

static void add_headers(struct http_server *server, struct MHD_Response *response,
                        const struct http_connection *http_connection,
                        const struct http_answer *answer)
{
    (void)MHD_add_response_header(response, "Content-Type", answer->type);
    (void)MHD_add_response_header(response, "Content-Security-Policy", answer->policy);
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    (void)MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    if (answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, "Allow", "GET, HEAD");
    if (answer->status >=
            MHD_HTTP_BAD_REQUEST || /* may be in the middle of something not understood */
        http_connections_should_close(&server->http_connections, http_connection, clock_ms()))
        (void)MHD_add_response_header(response, "Connection", "close");
}

static enum MHD_Result send_answer(struct http_server *server, struct MHD_Connection *connection,
                                   const struct http_answer *answer)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): it is copied, and never written to */
    void *body = (void *)(uintptr_t)answer->body;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer->n, body, MHD_RESPMEM_MUST_COPY);

    if (!response)
        return MHD_NO;
    add_headers(server, response, connection_of(connection), answer);
    server->requests[answer->status / 100 - 2]++;
    enum MHD_Result sent = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);
    return sent;
}

static enum MHD_Result refuse(struct http_server *server, struct MHD_Connection *connection,
                              unsigned status, const char *why)
{
    const struct http_answer answer = { .status = status,
                                        .type = "text/plain; charset=utf-8",
                                        .policy = "default-src 'none'",
                                        .body = why,
                                        .n = strlen(why) };

    return send_answer(server, connection, &answer);
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");

    return (length && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding");
}

/* The headers are there; a body is not waited for. */
static enum MHD_Result begin(struct http_server *server, struct http_connection *http_connection,
                             const char *method)
{
    struct MHD_Connection *connection = http_connection->connection;

    http_connection->answered = false;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return refuse(server, connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
    if (has_body(connection))
        return refuse(server, connection, MHD_HTTP_CONTENT_TOO_LARGE, "no body is wanted here\n");
    return MHD_YES;
}

static bool may_wait(const struct http_server *server,
                     const struct http_connection *http_connection)
{
    int64_t since_ms = http_connection->waited_ms;

    return (since_ms == 0 || clock_ms() - since_ms < LATER_MS) && server->waiting < LATER_MAX;
}

static enum MHD_Result wait_for_answer(struct http_server *server,
                                       struct http_connection *http_connection)
{
    server->waiting++;
    if (http_connection->waited_ms == 0)
        http_connection->waited_ms = clock_ms();
    http_connection->waiting_ms = http_connection->waited_ms;
    MHD_suspend_connection(http_connection->connection);
    return MHD_YES;
}

static struct http_metrics metrics_of(const struct http_server *server)
{
    struct http_metrics metrics = { .connections = (int64_t)server->http_connections.n,
                                    .cut_late = server->http_connections.cut_late,
                                    .cut_over_capacity =
                                        server->http_connections.cut_over_capacity };

    memcpy(metrics.requests, server->requests, sizeof metrics.requests);
    return metrics;
}

/* Each byte may be escaped, and takes three then: it is the unescaped text that has to fit. */
static bool unescape(const char *value, size_t n, char *text, size_t size)
{
    char raw[HEADERS_MAX_BYTES + 1];

    if (n >= sizeof raw)
        return false;
    memcpy(raw, value, n);
    raw[n] = '\0';
    for (char *c = raw; *c; c++)
        if (*c == '+')
            *c = ' ';
    size_t len = MHD_http_unescape(raw);
    if (len >= size || memchr(raw, '\0', len))
        return false;
    memcpy(text, raw, len);
    text[len] = '\0';
    return true;
}

bool http_argument(const struct http_question *question, const char *name, char *text, size_t size)
{
    struct MHD_Connection *connection = question->connection;
    const char *value = NULL;
    size_t n = 0;

    text[0] = '\0';
    return MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, name, strlen(name),
                                         &value, &n) != MHD_YES ||
           !value || unescape(value, n, text, size);
}

static enum MHD_Result reply(struct http_server *server, struct http_connection *http_connection,
                             const char *path)
{
    struct MHD_Connection *connection = http_connection->connection;
    const struct http_ports *ports = &server->ports;
    const struct http_question question = {
        .path = path,
        .host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST),
        .connection = connection,
    };
    struct http_metrics metrics = metrics_of(server);
    struct http_answer answer = { .status = 0 };

    switch (ports->ask(ports->opaque, &question)) {
    case HTTP_UNKNOWN:
        return refuse(server, connection, MHD_HTTP_NOT_FOUND, "there is no such page\n");
    case HTTP_MISDIRECTED:
        return refuse(server, connection, MHD_HTTP_MISDIRECTED_REQUEST,
                      "this is not served under that host name (see HTTP_HOSTS)\n");
    case HTTP_LATER:
        if (may_wait(server, http_connection))
            return wait_for_answer(server, http_connection);
        break;
    case HTTP_NOW:
        break;
    }
    ports->answer(ports->opaque, &question, &metrics, &answer);
    return send_answer(server, connection, &answer);
}

/* Called once with the headers, then when the request is complete, and after each wait. */
/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static enum MHD_Result on_request(void *opaque, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **slot)
{
    struct http_server *server = opaque;
    struct http_connection *http_connection = connection_of(connection);

    (void)version;
    (void)data;
    if (!http_connection)
        return MHD_NO;
    if (!*slot) {
        *slot = server;
        return begin(server, http_connection, method);
    }
    if (*n > 0) {
        *n = 0;
        return MHD_YES;
    }
    return reply(server, http_connection, path);
}

/* Our paths need no escapes: a path with any is not ours. */
static size_t leave_escaped(void *opaque, struct MHD_Connection *connection, char *text)
{
    (void)opaque;
    (void)connection;
    return strlen(text);
}

/* ---- the loop ---- */

static void go_on(struct http_server *server, struct http_connection *http_connection)
{
    server->waiting--;
    http_connection->waiting_ms = 0;
    MHD_resume_connection(http_connection->connection);
}

/* Resumes connections that wait: all after a wake-up, else those that waited long enough. */
static void check_waiting(struct http_server *server, bool woken)
{
    struct http_connection *at;
    int64_t now_ms = clock_ms();

    TAILQ_FOREACH(at, &server->http_connections.all, entry)
        if (at->waiting_ms && (woken || at->cut || now_ms - at->waiting_ms >= LATER_MS))
            go_on(server, at);
}

static void lower(int64_t *ms, int64_t other_ms)
{
    if (other_ms < *ms)
        *ms = other_ms > 0 ? other_ms : 0;
}

static int next_turn_ms(struct http_server *server)
{
    const struct http_connection *at;
    int64_t now_ms = clock_ms(), wait_ms = TURN_MS;
    MHD_UNSIGNED_LONG_LONG idle_ms;

    if (MHD_get_timeout(server->daemon, &idle_ms) == MHD_YES && idle_ms < TURN_MS)
        lower(&wait_ms, (int64_t)idle_ms);
    if (!TAILQ_EMPTY(&server->http_connections.all))
        lower(&wait_ms, http_connections_next_ms(&server->http_connections) - now_ms);
    TAILQ_FOREACH(at, &server->http_connections.all, entry)
        if (at->waiting_ms)
            lower(&wait_ms, at->waiting_ms + LATER_MS - now_ms);
    return (int)wait_ms;
}

static int epoll_fd_of(struct MHD_Daemon *daemon)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);

    return info ? info->epoll_fd : -1;
}

/* True when it was woken. */
static bool wait_for_something(struct http_server *server)
{
    struct pollfd fds[] = { { .fd = server->wakeup_fd, .events = POLLIN },
                            { .fd = epoll_fd_of(server->daemon), .events = POLLIN } };

    (void)poll(fds, 2, next_turn_ms(server));
    return wakeup_clear(server->wakeup_fd);
}

static void *serve(void *argument)
{
    struct http_server *server = argument;

    while (!server->stop) {
        bool woken = wait_for_something(server);
        http_connections_evict(&server->http_connections, clock_ms());
        check_waiting(server, woken);
        (void)MHD_run(server->daemon);
    }
    check_waiting(server, true); /* no connection may be suspended when the daemon stops */
    MHD_stop_daemon(server->daemon);
    return NULL;
}

/* ---- beginning and end ---- */

static size_t places(void)
{
    struct rlimit files = { .rlim_cur = RLIM_INFINITY };

    (void)getrlimit(RLIMIT_NOFILE, &files);
    return http_connections_places(files.rlim_cur);
}

static bool start_daemon(struct http_server *server, int listen_fd)
{
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, server,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)server->http_connections.max, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_MAX_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
        MHD_OPTION_END);
    return server->daemon != NULL;
}

/* The daemon has the listening socket from now on. */
static bool start_thread(struct http_server *server, struct error *err)
{
    int failed = pthread_create(&server->thread, NULL, serve, server);

    if (!failed)
        return true;
    MHD_stop_daemon(server->daemon);
    return error_set(err, ERROR_FATAL, "no thread for health and metrics (error %d)", failed);
}

bool http_server_start(struct http_server **out, int listen_fd, int wakeup_fd,
                       const struct http_ports *ports, struct error *err)
{
    struct http_server *server = calloc(1, sizeof *server);

    if (server) {
        server->ports = *ports;
        server->wakeup_fd = wakeup_fd;
        http_connections_init(&server->http_connections, places());
    }
    if (!server || !start_daemon(server, listen_fd)) {
        (void)close(listen_fd);
        free(server);
        return error_set(err, ERROR_FATAL, "cannot start the server for health and metrics");
    }
    if (!start_thread(server, err)) {
        free(server);
        return false;
    }
    *out = server;
    return true;
}

void http_server_free(struct http_server *server)
{
    if (!server)
        return;
    server->stop = true;
    wakeup_signal(server->wakeup_fd);
    (void)pthread_join(server->thread, NULL);
    free(server);
}

const char *http_library_version(void)
{
    return MHD_get_version();
}
