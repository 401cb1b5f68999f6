#ifndef WORKER_HTTP_HTTP_SERVER_H
#define WORKER_HTTP_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * A small HTTP server for answers that are made from memory: GET and HEAD, no
 * bodies of requests, one thread, a bounded number of connections
 * (http_connections.h).
 *
 *     question --ask--> HTTP_NOW --------------------------> answer
 *                  \--> HTTP_LATER --woken, or 2 seconds----/
 *                  |\-> HTTP_UNKNOWN: 404
 *                   \-> HTTP_MISDIRECTED: 421, the host is not one of ours
 *
 * Nothing that a client does or leaves undone holds up another one: headers are
 * bounded, and every connection has a deadline as a whole.
 *
 * The ports are called on the server's thread only. Only http_server.c knows
 * libmicrohttpd.
 */
struct http_server;

enum http_asked { HTTP_UNKNOWN, HTTP_MISDIRECTED, HTTP_NOW, HTTP_LATER };

/* Lent for the call of a port. */
struct http_question {
    const char *path;
    const char *host; /* the header; NULL: there is none */
    void *connection; /* the server's */
};

/*
 * The question's argument of that name, unescaped; an empty text where there is
 * none. False: it has a NUL in it, or does not fit; text is empty.
 */
bool http_argument(const struct http_question *question, const char *name, char *text, size_t size)
    MUST_USE;

struct http_answer {
    unsigned status;
    const char *type;   /* Content-Type */
    const char *policy; /* Content-Security-Policy */
    const char *body;   /* lent until the next call of a port */
    size_t n;
};

/* Figures of the server itself, at the time of an answer. */
struct http_metrics {
    int64_t requests[4]; /* answered with 2xx, 3xx, 4xx, 5xx */
    int64_t connections; /* now */
    int64_t cut_late, cut_over_capacity;
};

struct http_ports {
    void *opaque;
    enum http_asked (*ask)(void *opaque, const struct http_question *question);
    void (*answer)(void *opaque, const struct http_question *question,
                   const struct http_metrics *metrics, struct http_answer *answer);
};

/*
 * listen_fd is a socket that listens; the server closes it, also where it
 * fails. wakeup_fd (wakeup.h) is signalled when answers that were to come later
 * may have come; it outlives the server. The ports are copied.
 */
bool http_server_start(struct http_server **out, int listen_fd, int wakeup_fd,
                       const struct http_ports *ports, struct error *err) MUST_USE;

/* Ends every connection and the thread. */
void http_server_free(struct http_server *server);

/* libmicrohttpd's, for --version. A static string. */
const char *http_library_version(void);

#endif
