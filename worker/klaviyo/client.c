#include "worker/klaviyo/client.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base_url.h"
#include "common/clock.h"
#include "worker/klaviyo/account.h"
#include "worker/klaviyo/header.h"
#include "worker/klaviyo/transfer.h"
#include "worker/klaviyo/url.h"
#include "worker/klaviyo/wiping_heap.h"

enum {
    SOCKETS_MAX = 64, /* at once; two per request in flight at most (one for each address family) */
    HEADER_BYTES = API_KEY_MAX + 128,
};

TAILQ_HEAD(transfers, transfer);

struct client {
    CURLM *multi;   /* NULL: could not be recreated after an abort */
    CURL *template; /* what all requests have in common */
    char *base_url;
    struct curl_slist *headers;      /* of every request; one of them is the key */
    struct curl_slist *body_headers; /* of those with a body: two more, then `headers` */
    struct transfers running, ended;
    size_t n_in_flight;
    int sockets[SOCKETS_MAX]; /* that are open */
    size_t n_sockets;
};

/* ---- the library ---- */

bool client_library_init(struct error *err)
{
    CURLcode failed = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc,
                                           strdup, calloc);

    if (failed)
        return error_set(err, ERROR_FATAL, "libcurl cannot start: %s", curl_easy_strerror(failed));
    return true;
}

void client_library_release(void)
{
    curl_global_cleanup();
}

const char *client_library_version(void)
{
    return curl_version_info(CURLVERSION_NOW)->version;
}

/* ---- sockets ---- */

/* They are noted so that an abort can throw away what the kernel has not sent. */
static curl_socket_t open_socket(void *to, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct client *client = to;

    (void)purpose;
    if (client->n_sockets == SOCKETS_MAX)
        return CURL_SOCKET_BAD;

    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0)
        client->sockets[client->n_sockets++] = fd;
    return fd;
}

static int close_socket(void *to, curl_socket_t fd)
{
    struct client *client = to;

    for (size_t i = 0; i < client->n_sockets; i++)
        if (client->sockets[i] == fd) {
            client->sockets[i] = client->sockets[--client->n_sockets];
            break;
        }
    return close(fd);
}

/* From now on close() sends a reset instead of what is still in the send buffer. */
static void let_close_discard(const struct client *client)
{
    static const struct linger none = { .l_onoff = 1, .l_linger = 0 };

    for (size_t i = 0; i < client->n_sockets; i++)
        (void)setsockopt(client->sockets[i], SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

/* ---- making a client ---- */

static bool make_template(struct client *client, const struct client_options *options,
                          struct error *err)
{
    CURL *easy = transfer_template(options);

    client->template = easy;
    if (!easy || !CURL_SET(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket) ||
        !CURL_SET(easy, CURLOPT_OPENSOCKETDATA, client) ||
        !CURL_SET(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket) ||
        !CURL_SET(easy, CURLOPT_CLOSESOCKETDATA, client))
        return error_no_memory(err);
    return true;
}

static bool append(struct curl_slist **list, const char *header)
{
    struct curl_slist *longer = curl_slist_append(*list, header);

    if (longer)
        *list = longer;
    return longer != NULL;
}

/* "name: before value"; the text is wiped, as the key is one of the values. */
static bool append_value(struct curl_slist **list, const char *name, const char *before,
                         const char *value, struct error *err)
{
    char whole[HEADER_BYTES], header[HEADER_BYTES];

    (void)snprintf(whole, sizeof whole, "%s%s", before, value);
    bool safe = header_format(header, sizeof header, name, whole);
    bool done = safe && append(list, header);
    explicit_bzero(whole, sizeof whole);
    explicit_bzero(header, sizeof header);
    if (!safe)
        return error_set(err, ERROR_INPUT,
                         "the HTTP header %s would hold a character that is not visible ASCII",
                         name);
    return done || error_no_memory(err);
}

static bool make_headers(struct client *client, const struct client_options *options,
                         struct error *err)
{
    if (!append_value(&client->headers, "Authorization", "Klaviyo-API-Key ", options->api_key,
                      err) ||
        !append_value(&client->headers, "revision", "", options->revision, err) ||
        !append_value(&client->headers, "User-Agent", "", options->user_agent, err))
        return false;
    if (!append(&client->headers, "Accept: application/vnd.api+json") ||
        !append(&client->body_headers, "Content-Type: application/vnd.api+json") ||
        !append(&client->body_headers, "Expect:")) /* no round trip before a large body */
        return error_no_memory(err);
    client->body_headers->next->next = client->headers;
    return true;
}

static bool make_multi(struct client *client, struct error *err)
{
    if (!client->multi)
        client->multi = curl_multi_init();
    if (!client->multi)
        return error_no_memory(err);
    return true;
}

static bool make_client(struct client *client, const struct client_options *options,
                        struct error *err)
{
    client->base_url = strdup(options->base_url);
    if (!client->base_url)
        return error_no_memory(err);
    return make_headers(client, options, err) && make_template(client, options, err) &&
           make_multi(client, err);
}

static bool check_base(const struct client_options *options, struct error *err)
{
    struct error why = ERROR_INIT;

    return base_url_check(options->base_url, options->allow_http, &why) ||
           error_set(err, why.kind, "the base URL %s", why.text);
}

struct client *client_new(const struct client_options *options, struct error *err)
{
    assert(options->timeout_ms > 0 && options->timeout_ms <= INT_MAX);

    if (!check_base(options, err) ||
        !api_key_check(options->api_key, strlen(options->api_key), err))
        return NULL;

    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        (void)error_no_memory(err);
        return NULL;
    }
    TAILQ_INIT(&client->running);
    TAILQ_INIT(&client->ended);
    if (!make_client(client, options, err)) {
        client_free(client);
        return NULL;
    }
    return client;
}

/* ---- ending ---- */

static void drop_transfers(struct client *client)
{
    while (!TAILQ_EMPTY(&client->running)) {
        struct transfer *transfer = TAILQ_FIRST(&client->running);

        TAILQ_REMOVE(&client->running, transfer, entry);
        (void)curl_multi_remove_handle(client->multi, transfer->easy);
        transfer_free(transfer);
    }
    while (!TAILQ_EMPTY(&client->ended)) {
        struct transfer *transfer = TAILQ_FIRST(&client->ended);

        TAILQ_REMOVE(&client->ended, transfer, entry);
        transfer_free(transfer);
    }
    client->n_in_flight = 0;
}

static void close_connections(struct client *client)
{
    if (!TAILQ_EMPTY(&client->running))
        let_close_discard(client);
    drop_transfers(client);
    (void)curl_multi_cleanup(client->multi); /* takes NULL */
    client->multi = NULL;
}

void client_abort_all(struct client *client)
{
    struct error ignored = ERROR_INIT;

    let_close_discard(client);
    close_connections(client);
    (void)make_multi(client, &ignored); /* client_start() tries again */
}

static void wipe_headers(struct client *client)
{
    if (client->body_headers && client->body_headers->next)
        client->body_headers->next->next = NULL;
    for (struct curl_slist *at = client->headers; at; at = at->next)
        explicit_bzero(at->data, strlen(at->data));
    curl_slist_free_all(client->body_headers);
    curl_slist_free_all(client->headers);
}

void client_free(struct client *client)
{
    if (!client)
        return;

    close_connections(client);
    curl_easy_cleanup(client->template);
    free(client->base_url);
    wipe_headers(client);
    free(client);
}

/* ---- a request ---- */

bool client_start(struct client *client, const struct request *request, void *tag,
                  struct error *err)
{
    bool has_body = endpoint_is_write(request->endpoint);
    struct curl_slist *headers = has_body ? client->body_headers : client->headers;
    char *url;

    assert(has_body == (transfer_body_bytes(request) > 0));
    if (!make_multi(client, err) || !url_make(client->base_url, request, &url, err))
        return false;

    CLEANUP(transfer_freep)
    struct transfer *transfer = transfer_new(client->template, headers, url, request);
    free(url);
    if (!transfer || curl_multi_add_handle(client->multi, transfer->easy))
        return error_no_memory(err);

    transfer->response.tag = tag;
    TAILQ_INSERT_HEAD(&client->running, transfer, entry);
    (void)transfer_take(&transfer);
    client->n_in_flight++;
    return true;
}

static struct transfer *transfer_of(const struct client *client, const CURL *easy)
{
    struct transfer *transfer = TAILQ_FIRST(&client->running);

    while (transfer->easy != easy)
        transfer = TAILQ_NEXT(transfer, entry);
    return transfer;
}

static void finish(struct client *client, struct transfer *transfer, CURLcode code)
{
    TAILQ_REMOVE(&client->running, transfer, entry);
    (void)curl_multi_remove_handle(client->multi, transfer->easy);
    transfer_end(transfer, code);
    TAILQ_INSERT_TAIL(&client->ended, transfer, entry);
}

/* ---- moving bytes ---- */

static bool multi_ok(CURLMcode code, struct error *err)
{
    return code == CURLM_OK ||
           error_set(err, ERROR_RETRY, "HTTP client: %s", curl_multi_strerror(code));
}

static bool move_bytes(struct client *client, struct error *err)
{
    int n;
    const CURLMsg *message;

    if (!multi_ok(curl_multi_perform(client->multi, &n), err))
        return false;
    while ((message = curl_multi_info_read(client->multi, &n))) {
        CURLcode code = message->data.result; /* message dies with the handle */

        finish(client, transfer_of(client, message->easy_handle), code);
    }
    return true;
}

bool client_wait(struct client *client, int64_t timeout_ms, int wake_fd, struct error *err)
{
    int64_t until = clock_ms() + timeout_ms;
    struct curl_waitfd wake = { .fd = wake_fd, .events = CURL_WAIT_POLLIN };

    if (!make_multi(client, err))
        return false;
    for (;;) {
        if (!move_bytes(client, err))
            return false;

        int64_t left = until - clock_ms();
        if (!TAILQ_EMPTY(&client->ended) || wake.revents || left <= 0)
            return true;
        if (!multi_ok(curl_multi_poll(client->multi, &wake, wake_fd >= 0,
                                      left < INT_MAX ? (int)left : INT_MAX, NULL),
                      err))
            return false;
    }
}

/* If the receiver repeats the key, nobody may read it. */
static void hide_key(const struct client *client, struct response *response)
{
    const char *key = strrchr(client->headers->data, ' ') + 1; /* "Authorization: … KEY" */
    size_t n = strlen(key);
    char *at = response->body, *end = response->body + response->body_bytes;

    while (at && (at = memmem(at, (size_t)(end - at), key, n)))
        memset(at, '*', n);
}

bool client_next(struct client *client, struct response *response)
{
    CLEANUP(transfer_freep) struct transfer *transfer = TAILQ_FIRST(&client->ended);

    if (!transfer)
        return false;
    TAILQ_REMOVE(&client->ended, transfer, entry);
    client->n_in_flight--;
    *response = transfer->response;
    transfer->response = RESPONSE_INIT;
    hide_key(client, response);
    return true;
}

size_t client_in_flight(const struct client *client)
{
    return client->n_in_flight;
}
