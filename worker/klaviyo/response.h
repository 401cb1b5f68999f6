#ifndef WORKER_KLAVIYO_RESPONSE_H
#define WORKER_KLAVIYO_RESPONSE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/klaviyo/endpoint.h"

/*
 * What came back for a request, as it came: bytes and circumstances, without an
 * opinion. The verdict and the parsers say what it means.
 */
enum transport {
    TRANSPORT_ANSWERED,    /* a whole response */
    TRANSPORT_UNREACHABLE, /* no connection: nothing was sent */
    TRANSPORT_TIMED_OUT,   /* may have been sent and worked on */
    TRANSPORT_BROKEN,      /* connection lost or response cut short; as above */
    TRANSPORT_OVERSIZE,    /* more than RESPONSE_BODY_MAX_BYTES; the body is dropped */
};

/*
 * An import answered by an error for each of 10,000 rows is about 4 MB, at 400
 * bytes an error.
 */
enum {
    RESPONSE_BODY_MAX_BYTES = 8 * 1024 * 1024,
    RESPONSE_WHY_BYTES = 192,
};

/* "answered", "timed_out", …: label of a metric; stable. */
const char *transport_name(enum transport transport);

struct response {
    void *tag; /* as given to client_start() */
    enum endpoint endpoint;
    enum transport transport;
    int status;         /* HTTP status; 0 where none was received */
    char *content_type; /* NULL: none given */
    char *retry_after;  /* the header's text; NULL: none given */
    char *body;         /* NUL-terminated beyond body_bytes; NULL: empty */
    size_t body_bytes;
    int64_t duration_ms;          /* from the start of the request */
    char why[RESPONSE_WHY_BYTES]; /* what failed, in words fit for a log; empty if ANSWERED */
};

#define RESPONSE_INIT ((struct response){ .transport = TRANSPORT_UNREACHABLE })

/* Frees what the response owns; accepts RESPONSE_INIT. */
void response_release(struct response *response);

#endif
