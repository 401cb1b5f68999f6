#ifndef WORKER_HTTP_HTTP_CONNECTIONS_H
#define WORKER_HTTP_HTTP_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "common/cleanup.h"

/*
 * Clients of the endpoints, and for how long they may stay connected.
 *
 * A connection has one deadline for its whole life, whatever it sends or
 * does not send. An address may hold its share of the connections, and all together
 * HTTP_CONNECTIONS_OVER_CAPACITY of them; beyond that connections are evicted, the oldest
 * first, that have had their answer, or have existed for HTTP_CONNECTIONS_GRACE_MS without
 * a complete request. While all are taken, new clients wait in the backlog of the
 * listening socket, for about that time; so slow clients keep nobody out, and many
 * that come at once are all served.
 *
 * A connection is cut off by shutting its socket down, which the server notices.
 */
enum {
    HTTP_CONNECTIONS_MAX = 512,
    HTTP_CONNECTIONS_LEAST = 4,
    HTTP_CONNECTIONS_OVER_CAPACITY = 384,
    HTTP_CONNECTIONS_PER_ADDRESS = 128,
    HTTP_CONNECTIONS_GRACE_MS = 250,
    HTTP_CONNECTIONS_EVICT_EVERY_MS = 50, /* between checks while over capacity */
    HTTP_CONNECTIONS_LIFETIME_MS = 20 * 1000,
    HTTP_CONNECTIONS_LAST_RESPONSE_MS = 10 * 1000, /* at this age the next answer is the last one */
};

struct http_connection {
    TAILQ_ENTRY(http_connection) entry;
    int fd;
    unsigned char address[18]; /* family and bytes */
    int64_t since_ms;
    bool answered; /* and nothing asked since */
    bool cut;
    int64_t waiting_ms; /* since when its answer waits for something; 0: it does not */
    int64_t waited_ms;  /* since when the present request's answer has, in all; 0: it has not */
    void *connection;   /* the server's */
};

struct http_connections {
    size_t max;                                            /* places; 0: HTTP_CONNECTIONS_MAX */
    TAILQ_HEAD(http_connection_list, http_connection) all; /* in the order in which they came */
    size_t n;
    int64_t checked_ms;                  /* the last check while over capacity */
    int64_t cut_late, cut_over_capacity; /* totals */
};

/*
 * How many connections a process with that many descriptors may hold: an
 * eighth of them, so that clients never take those that runs need, and
 * HTTP_CONNECTIONS_MAX at most. What an address may hold, and the number beyond
 * which connections are evicted, shrink with it.
 */
size_t http_connections_places(uint64_t descriptors);

/* No connection yet; at most max at once (0: HTTP_CONNECTIONS_MAX). */
void http_connections_init(struct http_connections *http_connections, size_t max);

/* NULL: out of memory. */
struct http_connection *http_connections_add(struct http_connections *http_connections, int fd,
                                             const struct sockaddr *address, int64_t now_ms)
    MUST_USE;

/* Frees the connection's record. */
void http_connections_remove(struct http_connections *http_connections,
                             struct http_connection *http_connection);

/* Cuts off those whose time is over. */
void http_connections_evict(struct http_connections *http_connections, int64_t now_ms);

/* When to evict again, clock_ms(); INT64_MAX: there is no connection. */
int64_t http_connections_next_ms(const struct http_connections *http_connections);

/* Its next answer should be its last. */
bool http_connections_should_close(const struct http_connections *http_connections,
                                   const struct http_connection *http_connection, int64_t now_ms);

#endif
