#ifndef SIMULATOR_REQUEST_H
#define SIMULATOR_REQUEST_H

#include <stddef.h>
#include <stdint.h>

/*
 * A request as it arrived, wholly read. Texts are lent by the HTTP library
 * until the answer is sent; the body is the request's own (malloc) and may be
 * taken: set it to NULL then.
 */
enum { REQUEST_ARGS_MAX = 32 };

struct request {
    const char *method;
    const char *target; /* path and query, as sent */
    const char *path;   /* decoded, without the query */
    const char *host, *authorization, *revision, *content_type, *content_encoding;
    const char *user_agent, *traceparent; /* all headers: NULL if not sent */
    struct {
        const char *name, *value;
    } args[REQUEST_ARGS_MAX];
    size_t n_args;
    char *body;     /* body_n bytes and a NUL */
    size_t body_n;  /* kept */
    size_t total_n; /* received: more than was kept if the body is too large */
    int64_t at_us;  /* when its first bytes came */
};

/* The decoded value of a query parameter, or NULL. */
const char *request_arg(const struct request *request, const char *name);

#endif
