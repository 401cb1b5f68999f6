#ifndef WORKER_KLAVIYO_REQUEST_H
#define WORKER_KLAVIYO_REQUEST_H

#include <stddef.h>

#include "worker/klaviyo/endpoint.h"

/*
 * A request, as a value. Modules that know an endpoint make it, the client sends
 * it. It owns nothing: strings are lent until client_start() has returned, the
 * bytes of the body until the request's response has been handed out (or all
 * requests were aborted).
 */
enum {
    REQUEST_PARAMETERS_MAX = 4,
    REQUEST_PIECES_MAX = 3,
};

struct request_parameter {
    const char *name; /* NULL: no more of them */
    const char *value;
};

struct request_piece {
    const char *bytes; /* NULL: no more of them */
    size_t n;
};

struct request {
    enum endpoint endpoint;
    const char *id; /* for endpoints with an id in their path: never empty */

    /* Names and values as they are meant; the client escapes them. */
    struct request_parameter query[REQUEST_PARAMETERS_MAX];

    /*
     * `links.next` of the page before, NULL for the first. Its query replaces the
     * one above. The client refuses a link to another path; the host that the link
     * names does not count, the one it is talking to is asked.
     */
    const char *link;

    struct request_piece body[REQUEST_PIECES_MAX]; /* sent one after the other */

    const char *traceparent; /* W3C Trace Context; NULL: none */
};

#endif
