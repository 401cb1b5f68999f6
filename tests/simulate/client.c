#include "worker/klaviyo/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/seal.h"
#include "common/strbuf.h"
#include "tests/simulate/database.h"
#include "tests/simulate/dice.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/klaviyo.h"
#include "tests/simulate/process.h"
#include "tests/simulate/threads.h"
#include "tests/simulate/trace.h"
#include "worker/export/batch_import.h"

/*
 * klaviyo/client.h: requests of one run go to the simulated Klaviyo. What a run promises
 * about its requests is checked where it sends them.
 */
enum { TEXT_MAX = 16 * 1024 };

struct client {
    struct process *process;
    int account;
    int64_t told_until_ms[ENDPOINT_COUNT]; /* Klaviyo said when to come back */
};

/* The key says whose it is: "01" is the second one of account 0. */
struct client *client_new(const struct client_options *options, struct error *err UNUSED)
{
    struct client *client = calloc(1, sizeof *client);

    assert(client);
    client->process = fiber_process();
    client->account = options->api_key[0] - '0';
    return client;
}

/* Nothing is sealed here. */
bool __wrap_seal_open(const struct seal_pair *pair, const unsigned char *sealed, size_t len,
                      struct secret *out, struct error *err);
bool __wrap_seal_open(const struct seal_pair *pair UNUSED, const unsigned char *sealed, size_t len,
                      struct secret *out, struct error *err)
{
    if (!secret_allocate(out, len, err))
        return false;
    memcpy(out->bytes, sealed, len);
    return true;
}

/* What has not arrived may still, with even chances: it is in the network. */
void client_abort_all(struct client *client)
{
    struct exchange *x;

    for (int i = 0; (x = klaviyo_exchange(i)); i++) {
        if (!x->used || x->client != client)
            continue;
        x->client = NULL;
        if (x->arrived || dice(2) == 0)
            klaviyo_drop(x);
    }
}

void client_free(struct client *client)
{
    if (client)
        client_abort_all(client);
    free(client);
}

/* ---- what is promised about requests ---- */

static size_t imports_in_flight(const struct client *client, int64_t batch)
{
    struct exchange *x;
    size_t n = 0;

    for (int i = 0; (x = klaviyo_exchange(i)); i++)
        n += x->used && x->client == client && x->endpoint == ENDPOINT_IMPORT &&
             (batch == 0 || x->batch == batch);
    return n;
}

static void check_import(const struct client *client, int64_t batch)
{
    const struct outbox_row *b = &database.batches[batch];
    const struct run_row *run = &database.runs[b->run];

    must(imports_in_flight(client, batch) == 0, "batch %d is posted twice at a time", (int)batch);
    must(imports_in_flight(client, 0) < DELIVERY_IMPORTS_MAX, "six imports in flight");
    must(run->state != RUN_RUNNING || strcmp(run->take, b->poster) == 0,
         "batch %d is posted by a worker that has lost run %d", (int)batch, (int)b->run);
    must(run->state != RUN_RUNNING || run->lease_until_ms > fiber_now_ms(),
         "batch %d is posted when the lease of run %d is over", (int)batch, (int)b->run);
}

/* Somebody else may have put them there since. */
static void check_removal(const struct client *client, const char *list)
{
    struct list_claim_row *claim = &database.claims[client->account][list[1] - '0'];

    must(claim->begun, "people are taken off list %s, and it was not asked who owns it", list);
    claim->begun = false;
}

/* A slot that has lost the run, and was not told yet, may ask: it does no harm. */
static void check_poll(const char *job, int64_t batch)
{
    const struct run_row *run;

    if (!klaviyo_is_over(job))
        return;
    must(batch > 0, "late job %s is asked for, and its end is recorded", job);
    run = &database.runs[database.batches[batch].run];
    must(run->state != RUN_RUNNING || run->taker != fiber_self(),
         "job %s is asked for by who owns its run, and its end is recorded", job);
}

static void check_request(const struct client *client, const struct request *request,
                          const struct pending_request *pending)
{
    must(fiber_now_ms() >= client->told_until_ms[request->endpoint],
         "%s is asked before the time that Klaviyo said", endpoint_name(request->endpoint));
    if (request->endpoint == ENDPOINT_IMPORT)
        check_import(client, pending->import->batch.batch_id);
    if (request->endpoint == ENDPOINT_LIST_REMOVE)
        check_removal(client, request->id);
    if (request->endpoint == ENDPOINT_JOB || request->endpoint == ENDPOINT_IMPORT_ERRORS)
        check_poll(request->id, pending->import->batch.batch_id);
}

/* ---- requests and responses ---- */

static char *text_of(const struct request *request)
{
    struct strbuf text = STRBUF_INIT(TEXT_MAX);

    for (int i = 0; i < REQUEST_PIECES_MAX && request->body[i].bytes; i++)
        strbuf_add(&text, request->body[i].bytes, request->body[i].n);
    for (int i = 0; i < REQUEST_PARAMETERS_MAX && request->query[i].name; i++)
        strbuf_add_str(&text, request->query[i].value);
    assert(strbuf_ok(&text));
    return strbuf_take(&text);
}

bool client_start(struct client *client, const struct request *request, void *tag,
                  struct error *err)
{
    const struct pending_request *pending = tag;
    struct exchange exchange = {
        .client = client, .tag = tag, .endpoint = request->endpoint, .account = client->account
    };

    if (client->process->dead)
        return error_set(err, ERROR_RETRY, "no connection");
    check_request(client, request, pending);
    exchange.batch = pending->import ? pending->import->batch.batch_id : 0;
    exchange.text = text_of(request);
    (void)snprintf(exchange.id, sizeof exchange.id, "%s", request->id ? request->id : "");
    trace("asks %s %s%.0d", endpoint_name(request->endpoint), exchange.id, (int)exchange.batch);
    (void)klaviyo_send(&exchange);
    return true;
}

/* The one that has been there for the longest; *next_ms: when there may be another. */
static struct exchange *oldest_answer(const struct client *client, int64_t *next_ms)
{
    struct exchange *x, *oldest = NULL;

    for (int i = 0; (x = klaviyo_exchange(i)); i++) {
        if (!x->used || x->client != client)
            continue;
        if (x->answers_ms < *next_ms)
            *next_ms = x->answers_ms;
        if (x->answers_ms <= fiber_now_ms() && (!oldest || x->answers_ms < oldest->answers_ms))
            oldest = x;
    }
    return oldest;
}

bool client_wait(struct client *client, int64_t timeout_ms, int wake_fd, struct error *err)
{
    int64_t until_ms = fiber_now_ms() + timeout_ms, next_ms = until_ms;
    const void *keys[] = { client, descriptor_key(wake_fd) };

    if (client->process->dead)
        return error_set(err, ERROR_RETRY, "no connection");
    if (oldest_answer(client, &next_ms) || descriptor_is_raised(wake_fd))
        return true;
    fiber_wait(keys, 2, next_ms);
    return true;
}

bool client_next(struct client *client, struct response *response)
{
    int64_t next_ms = FIBER_NEVER;
    struct exchange *x = oldest_answer(client, &next_ms);
    char after[16];

    if (!x)
        return false;
    *response = (struct response){ .tag = x->tag,
                                   .endpoint = x->endpoint,
                                   .transport = x->transport,
                                   .status = x->status,
                                   .body = x->body,
                                   .body_bytes = x->body ? strlen(x->body) : 0,
                                   .duration_ms = fiber_now_ms() - x->started_ms };
    trace("hears of %s %s: %s %d%s", endpoint_name(x->endpoint), x->id,
          transport_name(x->transport), x->status, x->retry_after_s ? ", come back later" : "");
    if (x->transport == TRANSPORT_ANSWERED)
        response->content_type = strdup("application/vnd.api+json");
    if (x->transport == TRANSPORT_ANSWERED && x->retry_after_s) {
        (void)snprintf(after, sizeof after, "%d", x->retry_after_s);
        response->retry_after = strdup(after);
        client->told_until_ms[x->endpoint] = fiber_now_ms() + (int64_t)x->retry_after_s * 1000;
    }
    x->body = NULL;
    x->client = NULL;
    if (x->arrived)
        klaviyo_drop(x);
    return true;
}

size_t client_in_flight(const struct client *client)
{
    struct exchange *x;
    size_t n = 0;

    for (int i = 0; (x = klaviyo_exchange(i)); i++)
        n += x->used && x->client == client;
    return n;
}
