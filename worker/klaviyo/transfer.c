#include "worker/klaviyo/transfer.h"

#include <stdlib.h>
#include <string.h>

#include "common/base_url.h"
#include "worker/klaviyo/header.h"

enum {
    CONNECT_TIMEOUT_MS = 10000,
    UPLOAD_BUFFER_BYTES = 256 * 1024, /* curl's own 64 KiB make 80 turns of a 5 MB body */
};

/* ---- bytes ---- */

static size_t send_bytes(char *to, size_t size, size_t n, void *from)
{
    struct transfer *transfer = from;
    size_t room = size * n, sent = 0;

    while (room > 0 && transfer->piece < REQUEST_PIECES_MAX) {
        const struct request_piece *piece = &transfer->body[transfer->piece];
        size_t left = piece->n - transfer->offset;
        size_t now = left < room ? left : room;

        if (now > 0)
            memcpy(to + sent, piece->bytes + transfer->offset, now);
        sent += now;
        room -= now;
        transfer->offset += now;
        if (transfer->offset == piece->n) {
            transfer->piece++;
            transfer->offset = 0;
        }
    }
    return sent;
}

static size_t receive_bytes(char *bytes, size_t size, size_t n, void *to)
{
    struct transfer *transfer = to;

    transfer->is_oversize = size * n > transfer->received.max - transfer->received.len;
    strbuf_add(&transfer->received, bytes, size * n);
    return strbuf_ok(&transfer->received) ? size * n : 0; /* less than all: curl gives up */
}

size_t transfer_body_bytes(const struct request *request)
{
    size_t n = 0;

    for (size_t i = 0; i < REQUEST_PIECES_MAX; i++)
        n += request->body[i].n;
    return n;
}

/* ---- a request ---- */

static bool set_transport(CURL *easy, int64_t request_timeout_ms)
{
    long timeout_ms = (long)request_timeout_ms;
    long connect_ms = timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;

    return CURL_SET(easy, CURLOPT_NOSIGNAL, 1L) &&
           CURL_SET(easy, CURLOPT_PROTOCOLS_STR, "http,https") &&
           CURL_SET(easy, CURLOPT_FOLLOWLOCATION, 0L) && CURL_SET(easy, CURLOPT_PATH_AS_IS, 1L) &&
           CURL_SET(easy, CURLOPT_SSL_VERIFYPEER, 1L) &&
           CURL_SET(easy, CURLOPT_SSL_VERIFYHOST, 2L) &&
           CURL_SET(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           CURL_SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS) &&
           CURL_SET(easy, CURLOPT_TIMEOUT_MS, timeout_ms) &&
           CURL_SET(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) &&
           CURL_SET(easy, CURLOPT_TCP_KEEPALIVE, 1L) &&
           /* An abort must not wait for a name that is being resolved. */
           CURL_SET(easy, CURLOPT_QUICK_EXIT, 1L);
}

/*
 * There is no CURLOPT_SEEKFUNCTION: with one, curl would send a body again by
 * itself after a kept connection turned out to be closed. Each
 * request takes a permit of a rate limit, so that is left to the caller that counts
 * them.
 */
static bool set_content(CURL *easy)
{
    return CURL_SET(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)UPLOAD_BUFFER_BYTES) &&
           CURL_SET(easy, CURLOPT_READFUNCTION, send_bytes) &&
           CURL_SET(easy, CURLOPT_WRITEFUNCTION, receive_bytes);
}

/* The site's authority signs for its proxy, too. */
static bool set_authorities(CURL *easy, const char *ca_file)
{
    return !ca_file || !*ca_file ||
           (CURL_SET(easy, CURLOPT_CAINFO, ca_file) &&
            CURL_SET(easy, CURLOPT_PROXY_CAINFO, ca_file));
}

static bool set_proxy(CURL *easy, const char *base_url)
{
    return !base_url_is_loopback(base_url) || CURL_SET(easy, CURLOPT_PROXY, "");
}

CURL *transfer_template(const struct client_options *options)
{
    CURL *easy = curl_easy_init();

    if (easy && set_transport(easy, options->timeout_ms) &&
        set_authorities(easy, options->ca_file) && set_proxy(easy, options->base_url) &&
        set_content(easy))
        return easy;
    curl_easy_cleanup(easy);
    return NULL;
}

static bool set_body(struct transfer *transfer, const struct request *request)
{
    enum endpoint_method method = endpoint_method(request->endpoint);

    if (method == ENDPOINT_GET)
        return CURL_SET(transfer->easy, CURLOPT_HTTPGET, 1L);
    if (method == ENDPOINT_DELETE && !CURL_SET(transfer->easy, CURLOPT_CUSTOMREQUEST, "DELETE"))
        return false;

    memcpy(transfer->body, request->body, sizeof transfer->body);
    return CURL_SET(transfer->easy, CURLOPT_POST, 1L) &&
           CURL_SET(transfer->easy, CURLOPT_READDATA, transfer) &&
           CURL_SET(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE,
                    (curl_off_t)transfer_body_bytes(request));
}

static bool set_headers(struct transfer *transfer, struct curl_slist *headers,
                        const char *traceparent)
{
    /* A trace that cannot be sent is no reason to send nothing. */
    if (traceparent && header_format(transfer->traceparent, sizeof transfer->traceparent,
                                     "traceparent", traceparent)) {
        transfer->trace = (struct curl_slist){ transfer->traceparent, headers };
        headers = &transfer->trace;
    }
    return CURL_SET(transfer->easy, CURLOPT_HTTPHEADER, headers);
}

/*
 * A kept connection turns out to be closed: curl would send a request without a
 * body again by itself, without a permit of the account's rate limit.
 */
static int begin_request(void *opaque, char *remote_ip, char *local_ip, int remote_port,
                         int local_port)
{
    struct transfer *transfer = opaque;

    (void)remote_ip, (void)local_ip, (void)remote_port, (void)local_port;
    return transfer->sendings++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static bool set_receiver(struct transfer *transfer, const char *url)
{
    return CURL_SET(transfer->easy, CURLOPT_URL, url) &&
           CURL_SET(transfer->easy, CURLOPT_WRITEDATA, transfer) &&
           CURL_SET(transfer->easy, CURLOPT_PREREQFUNCTION, begin_request) &&
           CURL_SET(transfer->easy, CURLOPT_PREREQDATA, transfer) &&
           CURL_SET(transfer->easy, CURLOPT_ERRORBUFFER, transfer->why);
}

static bool make_handle(struct transfer *transfer, CURL *template, const char *url,
                        struct curl_slist *headers, const struct request *request)
{
    transfer->easy = curl_easy_duphandle(template);
    return transfer->easy && set_receiver(transfer, url) && set_body(transfer, request) &&
           set_headers(transfer, headers, request->traceparent);
}

struct transfer *transfer_new(CURL *template, struct curl_slist *headers, const char *url,
                              const struct request *request)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);

    if (!transfer)
        return NULL;
    transfer->response = RESPONSE_INIT;
    transfer->response.endpoint = request->endpoint;
    transfer->received = STRBUF_INIT(RESPONSE_BODY_MAX_BYTES);
    if (!make_handle(transfer, template, url, headers, request)) {
        transfer_free(transfer);
        return NULL;
    }
    return transfer;
}

void transfer_free(struct transfer *transfer)
{
    if (!transfer)
        return;

    curl_easy_cleanup(transfer->easy);
    strbuf_release(&transfer->received);
    response_release(&transfer->response);
    free(transfer);
}

/* ---- a response ---- */

/* curl's reasons for never having had a connection to send on. */
static bool is_unreachable(CURLcode code)
{
    static const CURLcode codes[] = { CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST,
                                      CURLE_COULDNT_CONNECT,       CURLE_PROXY,
                                      CURLE_SSL_CONNECT_ERROR,     CURLE_PEER_FAILED_VERIFICATION,
                                      CURLE_SSL_CACERT_BADFILE };

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (code == codes[i])
            return true;
    return false;
}

static enum transport transport_of(const struct transfer *transfer, CURLcode code)
{
    curl_off_t ready_us = 0; /* when the request could be sent; 0: never */

    if (code == CURLE_OK)
        return TRANSPORT_ANSWERED;
    if (transfer->is_oversize)
        return TRANSPORT_OVERSIZE;
    if (is_unreachable(code))
        return TRANSPORT_UNREACHABLE;
    if (code != CURLE_OPERATION_TIMEDOUT)
        return TRANSPORT_BROKEN;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    return ready_us > 0 ? TRANSPORT_TIMED_OUT : TRANSPORT_UNREACHABLE;
}

static bool copy_text(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return *out || !text;
}

static bool copy_headers(struct transfer *transfer)
{
    struct curl_header *retry_after = NULL;
    const char *content_type = NULL;

    if (curl_easy_header(transfer->easy, "Retry-After", 0, CURLH_HEADER, -1, &retry_after) ==
        CURLHE_OUT_OF_MEMORY)
        return false;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &content_type);
    return copy_text(&transfer->response.content_type, content_type) &&
           copy_text(&transfer->response.retry_after, retry_after ? retry_after->value : NULL);
}

/* False: the status is not known. */
static bool copy_numbers(struct transfer *transfer)
{
    long status = 0;
    curl_off_t duration_us = 0;

    bool ok = curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &duration_us);
    transfer->response.status = (int)status;
    transfer->response.duration_ms = duration_us / 1000;
    return ok;
}

/* curl's words, but for those that quote a proxy's variable, which may hold a password. */
static const char *words_for(const struct transfer *transfer, CURLcode code)
{
    if (strncmp(transfer->why, "Unsupported proxy", sizeof "Unsupported proxy" - 1) == 0)
        return "the proxy that the environment names (https_proxy, http_proxy, all_proxy) is not "
               "a URL of a kind that libcurl knows";
    return transfer->why[0] ? transfer->why : curl_easy_strerror(code);
}

void transfer_end(struct transfer *transfer, CURLcode code)
{
    struct response *response = &transfer->response;
    const char *why = words_for(transfer, code);

    bool has_status = copy_numbers(transfer);
    response->transport = transport_of(transfer, code);
    if (!has_status || !copy_headers(transfer)) {
        response->transport = TRANSPORT_BROKEN;
        why = "out of memory";
    }
    if (response->transport == TRANSPORT_ANSWERED) {
        response->body_bytes = transfer->received.len;
        response->body = strbuf_take(&transfer->received);
    } else {
        (void)snprintf(response->why, sizeof response->why, "%.*s", RESPONSE_WHY_BYTES - 1, why);
    }
    curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}
