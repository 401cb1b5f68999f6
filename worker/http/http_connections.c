#include "worker/http/http_connections.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void note_address(struct http_connection *http_connection, const struct sockaddr *address)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;

    http_connection->address[0] = (unsigned char)address->sa_family;
    if (address->sa_family == AF_INET)
        memcpy(http_connection->address + 1, &four->sin_addr, sizeof four->sin_addr);
    else if (address->sa_family == AF_INET6)
        memcpy(http_connection->address + 1, &six->sin6_addr, sizeof six->sin6_addr);
}

static void cut(struct http_connection *http_connection, int64_t *total)
{
    http_connection->cut = true;
    (*total)++;
    (void)shutdown(http_connection->fd, SHUT_RDWR);
}

size_t http_connections_places(uint64_t descriptors)
{
    if (descriptors / 8 >= HTTP_CONNECTIONS_MAX)
        return HTTP_CONNECTIONS_MAX;
    return descriptors / 8 > HTTP_CONNECTIONS_LEAST ? (size_t)descriptors / 8
                                                    : HTTP_CONNECTIONS_LEAST;
}

/* The number of connections that a share of them all is. */
static size_t scaled(const struct http_connections *http_connections, size_t of_max)
{
    size_t max = http_connections->max ? http_connections->max : HTTP_CONNECTIONS_MAX;
    size_t share = of_max * max / HTTP_CONNECTIONS_MAX;

    return share > 0 ? share : 1;
}

static size_t per_address(const struct http_connections *http_connections)
{
    return scaled(http_connections, HTTP_CONNECTIONS_PER_ADDRESS);
}

static bool is_same_address(const struct http_connection *a, const struct http_connection *b)
{
    return memcmp(a->address, b->address, sizeof a->address) == 0;
}

static size_t count_same_address(const struct http_connections *http_connections,
                                 const struct http_connection *of)
{
    const struct http_connection *at;
    size_t n = 0;

    TAILQ_FOREACH(at, &http_connections->all, entry)
        n += !at->cut && is_same_address(at, of);
    return n;
}

static size_t count_all(const struct http_connections *http_connections)
{
    const struct http_connection *at;
    size_t n = 0;

    TAILQ_FOREACH(at, &http_connections->all, entry)
        n += !at->cut;
    return n;
}

static bool can_be_spared(const struct http_connection *http_connection, int64_t now_ms)
{
    bool slow = !http_connection->waiting_ms &&
                now_ms - http_connection->since_ms >= HTTP_CONNECTIONS_GRACE_MS;

    return !http_connection->cut && (http_connection->answered || slow);
}

static void evict_over_capacity(struct http_connections *http_connections, int64_t now_ms)
{
    struct http_connection *at;

    if (http_connections->n <= per_address(http_connections) ||
        now_ms - http_connections->checked_ms < HTTP_CONNECTIONS_EVICT_EVERY_MS)
        return;
    http_connections->checked_ms = now_ms;
    TAILQ_FOREACH(at, &http_connections->all, entry)
        if (can_be_spared(at, now_ms) &&
            (count_same_address(http_connections, at) > per_address(http_connections) ||
             count_all(http_connections) >
                 scaled(http_connections, HTTP_CONNECTIONS_OVER_CAPACITY)))
            cut(at, &http_connections->cut_over_capacity);
}

void http_connections_init(struct http_connections *http_connections, size_t max)
{
    *http_connections = (struct http_connections){ .max = max };
    TAILQ_INIT(&http_connections->all);
}

struct http_connection *http_connections_add(struct http_connections *http_connections, int fd,
                                             const struct sockaddr *address, int64_t now_ms)
{
    struct http_connection *http_connection = calloc(1, sizeof *http_connection);

    if (!http_connection)
        return NULL;
    http_connection->fd = fd;
    http_connection->since_ms = now_ms;
    note_address(http_connection, address);
    TAILQ_INSERT_TAIL(&http_connections->all, http_connection, entry);
    http_connections->n++;
    return http_connection;
}

void http_connections_remove(struct http_connections *http_connections,
                             struct http_connection *http_connection)
{
    TAILQ_REMOVE(&http_connections->all, http_connection, entry);
    http_connections->n--;
    free(http_connection);
}

static void enforce_deadlines(struct http_connections *http_connections, int64_t now_ms)
{
    struct http_connection *at;

    TAILQ_FOREACH(at, &http_connections->all, entry) {
        if (now_ms - at->since_ms < HTTP_CONNECTIONS_LIFETIME_MS)
            return;
        if (!at->cut)
            cut(at, &http_connections->cut_late);
    }
}

void http_connections_evict(struct http_connections *http_connections, int64_t now_ms)
{
    enforce_deadlines(http_connections, now_ms);
    evict_over_capacity(http_connections, now_ms);
}

int64_t http_connections_next_ms(const struct http_connections *http_connections)
{
    const struct http_connection *at;

    if (http_connections->n > per_address(http_connections))
        return http_connections->checked_ms + HTTP_CONNECTIONS_EVICT_EVERY_MS;
    TAILQ_FOREACH(at, &http_connections->all, entry)
        if (!at->cut)
            return at->since_ms + HTTP_CONNECTIONS_LIFETIME_MS;
    return INT64_MAX;
}

bool http_connections_should_close(const struct http_connections *http_connections,
                                   const struct http_connection *http_connection, int64_t now_ms)
{
    return http_connections->n > per_address(http_connections) / 2 ||
           now_ms - http_connection->since_ms >= HTTP_CONNECTIONS_LAST_RESPONSE_MS;
}
