#ifndef WORKER_KLAVIYO_CLIENT_H
#define WORKER_KLAVIYO_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * The client: speaks HTTP with one Klaviyo account.
 *
 *     client_start(client, &request, tag, err);       any number of times
 *     client_wait(client, 1000, wake_fd, err);        sends, receives, waits
 *     while (client_next(client, &response)) { … response_release(&response); }
 *
 * It belongs to one thread. It sends what it is given, a body never twice:
 * whatever goes wrong is a response with another transport than ANSWERED, and
 * whether to ask again is the caller's decision (which costs a permit of a rate
 * limit), also where a kept connection turns out to be closed. Connections are
 * kept and used again, HTTP/2 where it is offered; certificates are always
 * verified (TLS 1.2 or newer); redirects are not followed; proxies are taken
 * from the environment as curl does, but none stands between us and this
 * machine itself: it would get the key of an http:// address in the clear.
 *
 * Only client.c, transfer.c and url.c know curl.
 */
struct client;

struct client_options {
    const char *base_url;   /* "https://a.klaviyo.com": without a slash at its end */
    const char *revision;   /* value of the revision header, "2026-10-15" */
    const char *user_agent; /* "klaviyo-worker/0.1.0" */
    const char *api_key;    /* "pk_…"; lives on in wiped memory of the client only */
    int64_t timeout_ms;     /* one request, from start to the last byte of its response */
    bool allow_http;        /* http:// to other hosts than loopback: not without this */
    const char
        *ca_file; /* of the authorities that may sign its certificate; NULL or empty: libcurl's */
};

/* Once in main, before the first thread; release after the last one. */
bool client_library_init(struct error *err) MUST_USE;
void client_library_release(void);

/* "7.88.1", of the library in use. */
const char *client_library_version(void);

/*
 * All options are lent for this call only. ERROR_INPUT: base_url is not one, or
 * is http:// to a host that is not loopback. NULL on failure.
 */
struct client *client_new(const struct client_options *options, struct error *err) MUST_USE;

/* Aborts what is in flight and wipes the key. */
void client_free(struct client *client);

DEFINE_OWNER(client)

/*
 * Begins a request; bytes move in client_wait(). The tag comes back with the
 * response. What is lent: see request.h. ERROR_RETRY where request->link leads
 * elsewhere (the response that held it was malformed) or memory is out.
 */
bool client_start(struct client *client, const struct request *request, void *tag,
                  struct error *err) MUST_USE;

/*
 * Moves bytes until a request has ended, timeout_ms have passed or wake_fd has
 * something to read (-1: none; it is not read). Returns at once if a response is
 * waiting for client_next(). With nothing in flight it only waits.
 */
bool client_wait(struct client *client, int64_t timeout_ms, int wake_fd, struct error *err)
    MUST_USE;

/*
 * Hands over one response, which the caller then owns, in the order in which they
 * ended. False: none is waiting; *response is untouched.
 */
bool client_next(struct client *client, struct response *response) MUST_USE;

/* For tests: begun and not yet handed over by client_next(). */
size_t client_in_flight(const struct client *client);

/*
 * Ends all requests without a response and closes all connections so that bytes
 * still waiting to be sent are thrown away, by this host's kernel too: after a
 * lost lease nothing more may arrive. The client can be used again afterwards.
 */
void client_abort_all(struct client *client);

#endif
