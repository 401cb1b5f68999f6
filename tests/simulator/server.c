#include "tests/simulator/server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "common/clock.h"
#include "common/parse.h"
#include "tests/simulator/import.h"
#include "tests/simulator/memory.h"
#include "tests/simulator/service.h"

/* Of each connection: read as much of a large body at a time as fits, and long URLs. */
enum { CONNECTION_MEMORY = 256 * 1024, IDLE_SECONDS = 600, PIECE_BYTES = 16 * 1024 };

struct server {
    struct MHD_Daemon *daemon;
    struct world *world;
};

/* A request on its way in. */
struct exchange {
    char *target;
    bool begun;
    int64_t at_us;
    char *body;
    size_t cap, kept_n, total_n;
};

/* What of an answer is still to be sent. */
struct delivery {
    struct world *world;
    char *body;
    size_t n;
    size_t end; /* breaks off here if less than n */
    int pause_ms;
};

static void *note_target(void *context, const char *target, struct MHD_Connection *connection)
{
    struct exchange *exchange = memory_new(sizeof *exchange);

    (void)context;
    (void)connection;
    exchange->target = memory_string(target);
    exchange->at_us = clock_utc_us();
    return exchange;
}

static void forget_exchange(void *context, struct MHD_Connection *connection, void **slot,
                            enum MHD_RequestTerminationCode why)
{
    struct exchange *exchange = *slot;

    (void)context;
    (void)connection;
    (void)why;
    if (!exchange)
        return;
    free(exchange->target);
    free(exchange->body);
    free(exchange);
    *slot = NULL;
}

/* Keeps one byte more than is allowed, so that what is too large is seen to be. */
static void keep_upload(struct exchange *exchange, const char *data, size_t n)
{
    size_t room = IMPORT_BYTES_MAX + 1 - exchange->kept_n;
    size_t kept = n < room ? n : room;

    exchange->total_n += n;
    exchange->body = memory_grow(exchange->body, &exchange->cap, exchange->kept_n + kept + 1, 1);
    memcpy(exchange->body + exchange->kept_n, data, kept);
    exchange->kept_n += kept;
    exchange->body[exchange->kept_n] = '\0';
}

/* Room for the whole body at once, if its length is known. */
static void make_room(struct exchange *exchange, struct MHD_Connection *connection)
{
    const char *text = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    int64_t n = 0;

    if (text)
        (void)!parse_int64(text, 0, IMPORT_BYTES_MAX, &n);
    exchange->cap = (size_t)n + 2;
    exchange->body = memory_raw(exchange->cap);
    exchange->body[0] = '\0';
}

static enum MHD_Result take_arg(void *context, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
    struct request *request = context;

    (void)kind;
    if (request->n_args < REQUEST_ARGS_MAX) {
        request->args[request->n_args].name = name;
        request->args[request->n_args].value = value ? value : "";
        request->n_args++;
    }
    return MHD_YES;
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static void fill_request(struct request *request, struct exchange *exchange, const char *method,
                         const char *path, struct MHD_Connection *connection)
{
    *request = (struct request){
        .method = method,
        .target = exchange->target,
        .path = path,
        .host = header(connection, "Host"),
        .authorization = header(connection, "Authorization"),
        .revision = header(connection, "revision"),
        .content_type = header(connection, "Content-Type"),
        .content_encoding = header(connection, "Content-Encoding"),
        .user_agent = header(connection, "User-Agent"),
        .traceparent = header(connection, "traceparent"),
        .body = exchange->body,
        .body_n = exchange->kept_n,
        .total_n = exchange->total_n,
        .at_us = exchange->at_us,
    };
    (void)MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_arg, request);
}

static void pause_at_half(struct delivery *delivery, uint64_t at)
{
    int pause_ms = delivery->pause_ms;

    if (pause_ms == 0 || at < delivery->n / 2)
        return;
    delivery->pause_ms = 0;
    world_sleep_ms(delivery->world, pause_ms);
}

static ssize_t deliver(void *context, uint64_t at, char *out, size_t room)
{
    struct delivery *delivery = context;
    size_t left = delivery->end - (size_t)at, half = delivery->n / 2;

    if (at >= delivery->end)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    pause_at_half(delivery, at);
    if (delivery->pause_ms && at + left > half)
        left = half - (size_t)at;
    if (left > room)
        left = room;
    memcpy(out, delivery->body + at, left);
    return (ssize_t)left;
}

static void delivery_free(void *context)
{
    struct delivery *delivery = context;

    free(delivery->body);
    free(delivery);
}

/* The body in pieces: with a pause in it, or broken off. */
static struct MHD_Response *piecemeal(struct world *world, struct answer *answer)
{
    struct delivery *delivery = memory_new(sizeof *delivery);
    bool cut = answer->truncate >= 0 && (size_t)answer->truncate < answer->body.len;

    delivery->world = world;
    delivery->n = answer->body.len;
    delivery->end = cut ? (size_t)answer->truncate : delivery->n;
    delivery->pause_ms = answer->pause_ms;
    delivery->body = strbuf_take(&answer->body);
    return MHD_create_response_from_callback(delivery->n, PIECE_BYTES, deliver, delivery,
                                             delivery_free);
}

static struct MHD_Response *make_response(struct world *world, struct answer *answer)
{
    static char nothing[1];
    size_t n = answer->body.len;

    if (n == 0)
        return MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (answer->truncate >= 0 || answer->pause_ms > 0)
        return piecemeal(world, answer);
    return MHD_create_response_from_buffer(n, strbuf_take(&answer->body), MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result send_answer(struct world *world, struct MHD_Connection *connection,
                                   struct answer *answer)
{
    struct MHD_Response *response = make_response(world, answer);

    if (!response)
        return MHD_NO;
    if (answer->content_type[0])
        (void)MHD_add_response_header(response, "Content-Type", answer->content_type);
    for (size_t i = 0; i < answer->n_headers; i++)
        (void)MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
    enum MHD_Result sent = MHD_queue_response(connection, (unsigned)answer->status, response);
    MHD_destroy_response(response);
    return sent;
}

/* The connection is closed when the handler says no; without lingering that is a reset. */
static enum MHD_Result break_off(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct linger now = { .l_onoff = 1, .l_linger = 0 };

    if (info)
        (void)setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return MHD_NO;
}

static enum MHD_Result serve(struct server *server, struct exchange *exchange, const char *method,
                             const char *path, struct MHD_Connection *connection)
{
    CLEANUP(answer_release) struct answer answer;
    struct request request;

    answer_init(&answer);
    fill_request(&request, exchange, method, path, connection);
    service_answer(server->world, &request, &answer);
    exchange->body = request.body;
    if (answer.reset)
        return break_off(connection);
    return send_answer(server->world, connection, &answer);
}

/* Called once with the headers, once for each piece of the body, and once at its end. */
/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *data, size_t *n, void **slot)
{
    struct exchange *exchange = *slot;

    (void)version;
    if (!exchange->begun) {
        exchange->begun = true;
        make_room(exchange, connection);
        return MHD_YES;
    }
    if (*n > 0) {
        keep_upload(exchange, data, *n);
        *n = 0;
        return MHD_YES;
    }
    return serve(context, exchange, method, path, connection);
}

static bool parse_listen(const char *listen, struct sockaddr_in *address)
{
    const char *colon = strrchr(listen, ':');
    char host[64];
    int64_t port;

    if (!colon || (size_t)(colon - listen) >= sizeof host)
        return false;
    memcpy(host, listen, (size_t)(colon - listen));
    host[colon - listen] = '\0';
    *address = (struct sockaddr_in){ .sin_family = AF_INET };
    if (!parse_int64(colon + 1, 0, UINT16_MAX, &port))
        return false;
    address->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

bool server_start(const char *listen, struct world *world, struct server **out, struct error *err)
{
    struct sockaddr_in address;

    if (!parse_listen(listen, &address))
        return error_set(err, ERROR_INPUT, "not an IPv4 address and port: %s", listen);

    struct server *server = memory_new(sizeof *server);
    server->world = world;
    server->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, NULL,
        NULL, on_request, server, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_URI_LOG_CALLBACK,
        note_target, NULL, MHD_OPTION_NOTIFY_COMPLETED, forget_exchange, NULL,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    if (!server->daemon) {
        free(server);
        return error_errno(err, ERROR_FATAL, "listening on %s", listen);
    }
    *out = server;
    return true;
}

uint16_t server_port(const struct server *server)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);

    return info ? info->port : 0;
}

void server_free(struct server *server)
{
    if (!server)
        return;
    atomic_store(&server->world->ending, true);
    MHD_stop_daemon(server->daemon);
    free(server);
}
