#ifndef WORKER_KLAVIYO_TRANSFER_H
#define WORKER_KLAVIYO_TRANSFER_H

#define CURL_DISABLE_TYPECHECK /* its macros unfold to hundreds of branches a call */
#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "worker/klaviyo/client.h"
#include "worker/klaviyo/request.h"
#include "worker/klaviyo/response.h"

/*
 * One request on its way, and then its response until that is handed over. For the
 * client alone, which moves it.
 */
enum { TRACEPARENT_BYTES = 72 }; /* "traceparent: ", 55 characters and the end */

struct transfer {
    TAILQ_ENTRY(transfer) entry; /* of the client's list */
    CURL *easy;                  /* NULL once it has ended */
    struct response response;

    struct strbuf received;
    bool is_oversize;
    int sendings; /* times that curl began to send it */

    struct request_piece body[REQUEST_PIECES_MAX];
    size_t piece;  /* that is being sent */
    size_t offset; /* in it */

    char traceparent[TRACEPARENT_BYTES];
    struct curl_slist trace; /* the one header of its own, in front of the client's */
    char why[CURL_ERROR_SIZE];
};

/* An option of an easy handle. False: out of memory, or curl does not have it. */
#define CURL_SET(easy, option, value) (curl_easy_setopt((easy), (option), (value)) == CURLE_OK)

/* What all requests have in common; NULL when out of memory. */
CURL *transfer_template(const struct client_options *options);

/*
 * headers are lent until transfer_free(), the request as request.h says. NULL
 * when out of memory.
 */
struct transfer *transfer_new(CURL *template, struct curl_slist *headers, const char *url,
                              const struct request *request) MUST_USE;

/* Makes the response. The handle is in no multi any more. */
void transfer_end(struct transfer *transfer, CURLcode code);

/* Frees the transfer and a response that was not handed over; NULL is accepted. */
void transfer_free(struct transfer *transfer);

DEFINE_OWNER(transfer)

/* Bytes of all pieces of the body together. */
size_t transfer_body_bytes(const struct request *request);

#endif
