#include "worker/task/klaviyo_query.h"

#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/retry.h"
#include "common/version.h"
#include "worker/klaviyo/client.h"
#include "worker/klaviyo/list_flows.h"
#include "worker/klaviyo/verdict.h"
#include "worker/store/account_plan.h"
#include "worker/store/rate_limit.h"

enum { ONE_WAIT_MS = 30 * 1000, WAIT_MAX_MS = 600 * 1000 };

/* For how long, and how often, one question is asked: all attempts together. */
struct retry_bounds {
    int64_t ms;
    unsigned attempts;
};

/* A person waits for the response. */
static const struct retry_bounds one_answer = { ONE_WAIT_MS, 4 };
/* One of several: it may have to wait for the permits that those before have used up. */
static const struct retry_bounds one_of_several = { WAIT_MAX_MS, 4 };
/* One page of many: giving up would lose those read before. */
static const struct retry_bounds one_of_many = { WAIT_MAX_MS, 12 };

struct klaviyo_query {
    struct client *client;
    struct db *db;
    const int *stop_fd;
    int64_t timeout_ms;
    char account[ACCOUNT_ID_BYTES + 24]; /* or "key:" and the key's fingerprint */
    bool account_known;
    int64_t last_permit_id;
};

/* An account that is not known yet has one key at most that asks for it. */
static void count_for(struct klaviyo_query *query, const struct secret *key, const char *account)
{
    char fingerprint[SECRET_FINGERPRINT_BYTES];

    query->account_known = account != NULL;
    if (account) {
        (void)snprintf(query->account, sizeof query->account, "%s", account);
        return;
    }
    secret_fingerprint(key, fingerprint);
    (void)snprintf(query->account, sizeof query->account, "key:%s", fingerprint);
}

struct klaviyo_query *klaviyo_query_new(const struct klaviyo_query_options *options,
                                        struct error *err)
{
    CLEANUP(klaviyo_query_freep) struct klaviyo_query *query = calloc(1, sizeof *query);
    const struct settings *settings = options->settings;

    if (!query) {
        (void)error_no_memory(err);
        return NULL;
    }
    query->db = options->db;
    query->stop_fd = options->stop_fd;
    query->timeout_ms = settings->request_timeout_seconds * 1000;
    count_for(query, options->key, options->account);
    query->client = client_new(
        &(struct client_options){
            .base_url = settings->klaviyo_base_url,
            .revision = settings->klaviyo_revision,
            .user_agent = version_user_agent(),
            .api_key = options->key->bytes,
            .timeout_ms = query->timeout_ms,
            .allow_http = settings->klaviyo_allow_http,
            .ca_file = settings->klaviyo_ca_file,
        },
        err);
    return query->client ? klaviyo_query_take(&query) : NULL;
}

void klaviyo_query_free(struct klaviyo_query *query)
{
    if (!query)
        return;
    client_free(query->client);
    free(query);
}

static int stop_fd(const struct klaviyo_query *query)
{
    return query->stop_fd ? *query->stop_fd : -1;
}

/* False: it is to stop. */
static bool wait_ms(const struct klaviyo_query *query, int64_t ms, struct error *err)
{
    struct pollfd fd = { .fd = stop_fd(query), .events = POLLIN };

    (void)poll(&fd, 1, ms < WAIT_MAX_MS ? (int)ms : WAIT_MAX_MS);
    return fd.revents == 0 || error_set(err, ERROR_LOST, "asking Klaviyo was stopped");
}

/* Waits for a permit of the rate limit. */
static bool acquire_permit(struct klaviyo_query *query, enum endpoint endpoint, int64_t deadline_ms,
                           int64_t *permit_id, struct error *err)
{
    struct endpoint_limit limit = endpoint_limit(endpoint);
    struct rate_limit_claim claim = { .account = query->account,
                                      .endpoint = endpoint_name(endpoint),
                                      .burst = limit.per_second,
                                      .steady = limit.per_minute,
                                      .timeout_ms = query->timeout_ms };
    struct rate_limit_permit permit = { .permit_id = 0 };

    for (;;) {
        if (!rate_limit_acquire(query->db, &claim, &permit, err))
            return false;
        if (permit.permit_id != 0)
            break;
        if (clock_ms() + permit.wait_ms > deadline_ms)
            return error_set(err, ERROR_RETRY,
                             "the requests that Klaviyo allows for this account are used up: try "
                             "again in %" PRId64 " seconds",
                             permit.wait_ms / 1000 + 1);
        if (!wait_ms(query, permit.wait_ms, err))
            return false;
    }
    query->last_permit_id = *permit_id = permit.permit_id;
    return true;
}

/* One request to its response, or to a stop. */
static bool call(struct klaviyo_query *query, const struct request *request,
                 struct response *response, struct error *err)
{
    if (!wait_ms(query, 0, err) || !client_start(query->client, request, NULL, err))
        return false;
    while (!client_next(query->client, response)) {
        if (!client_wait(query->client, query->timeout_ms, stop_fd(query), err))
            return false;
        if (!wait_ms(query, 0, err)) {
            client_abort_all(query->client);
            return false;
        }
    }
    return true;
}

/* All workers of the account wait until Klaviyo said to come back. */
static bool heed_wait(const struct klaviyo_query *query, const struct verdict *verdict,
                      struct error *err)
{
    int64_t wait_ms = verdict_wait_ms(verdict);

    return wait_ms == 0 || rate_limit_block(query->db, query->account,
                                            endpoint_name(verdict->endpoint), wait_ms, err);
}

/* One request under its permit; the verdict on its response. */
static bool ask_once(struct klaviyo_query *query, const struct request *request,
                     int64_t deadline_ms, struct response *response, struct verdict *verdict,
                     struct error *err)
{
    int64_t permit_id = 0;

    if (!acquire_permit(query, request->endpoint, deadline_ms, &permit_id, err) ||
        !call(query, request, response, err))
        return false;
    return rate_limit_release(query->db, permit_id, err) &&
           verdict_judge(response, 0, clock_utc_us(), verdict, err) &&
           heed_wait(query, verdict, err);
}

static int64_t pause_before(unsigned attempt, const struct verdict *verdict)
{
    return retry_wait_ms(RETRY_POLICY, attempt, randombytes_random(), verdict_wait_ms(verdict));
}

static enum klaviyo_query_outcome outcome_of(const struct verdict *verdict, struct error *err)
{
    switch (verdict->action) {
    case VERDICT_OK:
        return KLAVIYO_QUERY_ANSWERED;
    case VERDICT_GONE:
        return KLAVIYO_QUERY_GONE;
    case VERDICT_KEY_REFUSED:
        (void)verdict_error(verdict, err);
        return KLAVIYO_QUERY_KEY_REFUSED;
    case VERDICT_SCOPE_MISSING:
        (void)verdict_error(verdict, err);
        return KLAVIYO_QUERY_SCOPE_MISSING;
    case VERDICT_ACCEPTED:
    case VERDICT_ROWS_REFUSED:
    case VERDICT_BATCH_REFUSED:
    case VERDICT_TOO_LARGE:
    case VERDICT_THROTTLED:
    case VERDICT_AGAIN:
    case VERDICT_UNEXPECTED:
        break;
    }
    (void)verdict_error(verdict, err);
    return KLAVIYO_QUERY_FAILED;
}

/* Asks until there is a response that says something, or the deadline has passed. */
static enum klaviyo_query_outcome ask_for(struct klaviyo_query *query, struct retry_bounds bounds,
                                          const struct request *request, struct response *response,
                                          struct error *err)
{
    int64_t deadline_ms = clock_ms() + bounds.ms;

    for (unsigned attempt = 1;; attempt++) {
        CLEANUP(verdict_release) struct verdict verdict = VERDICT_INIT;

        if (!ask_once(query, request, deadline_ms, response, &verdict, err))
            return KLAVIYO_QUERY_FAILED;
        bool again = verdict.action == VERDICT_THROTTLED || verdict.action == VERDICT_AGAIN;
        int64_t pause_ms = again ? pause_before(attempt, &verdict) : 0;
        if (!again || attempt == bounds.attempts || clock_ms() + pause_ms > deadline_ms)
            return outcome_of(&verdict, err);
        response_release(response);
        *response = RESPONSE_INIT;
        if (!wait_ms(query, pause_ms, err))
            return KLAVIYO_QUERY_FAILED;
    }
}

static enum klaviyo_query_outcome ask(struct klaviyo_query *query, const struct request *request,
                                      struct response *response, struct error *err)
{
    return ask_for(query, one_answer, request, response, err);
}

/* From now on the account's rate limit counts, also for the request that brought its id. */
static bool note_account(struct klaviyo_query *query, const struct account *account,
                         struct error *err)
{
    if (query->account_known)
        return true;
    if (!rate_limit_move(query->db, query->last_permit_id, account->id, err))
        return false;
    (void)snprintf(query->account, sizeof query->account, "%s", account->id);
    query->account_known = true;
    return true;
}

enum klaviyo_query_outcome klaviyo_query_account(struct klaviyo_query *query,
                                                 struct account *account, struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = account_request();
    enum klaviyo_query_outcome outcome = ask(query, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED &&
        (!account_parse(&response, account, err) || !note_account(query, account, err)))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}

enum klaviyo_query_outcome klaviyo_query_list(struct klaviyo_query *query, const char *list_id,
                                              struct klaviyo_list *list, struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = klaviyo_list_request(list_id);
    enum klaviyo_query_outcome outcome = ask_for(query, one_of_several, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED && !klaviyo_list_parse(&response, list, err))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}

/* For the status page, if the account is known. */
static bool note_usage(struct klaviyo_query *query, const struct usage *usage, struct error *err)
{
    const struct usage_row *row = usage_tightest(usage);

    return !query->account_known ||
           account_plan_note(query->db, query->account, row ? row->used : 0,
                             row ? row->maximum : -1, err);
}

enum klaviyo_query_outcome klaviyo_query_usage(struct klaviyo_query *query, struct usage *usage,
                                               struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = usage_request();
    enum klaviyo_query_outcome outcome = ask(query, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED &&
        (!usage_parse(&response, usage, err) || !note_usage(query, usage, err)))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}

enum klaviyo_query_outcome klaviyo_query_list_profiles(struct klaviyo_query *query,
                                                       const char *list_id, const char *next,
                                                       struct profile_page *page, struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = klaviyo_list_profiles_request(list_id, next);
    enum klaviyo_query_outcome outcome = ask_for(query, one_of_many, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED && !profile_page_parse(&response, page, err))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}

enum klaviyo_query_outcome klaviyo_query_flows(struct klaviyo_query *query, const char *list_id,
                                               bool several, int64_t *live, struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = list_flows_request(list_id);
    enum klaviyo_query_outcome outcome =
        ask_for(query, several ? one_of_several : one_answer, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED && !list_flows_parse(&response, live, err))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}

enum klaviyo_query_outcome klaviyo_query_lists(struct klaviyo_query *query, const char *next,
                                               struct list_page *page, struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = list_page_request(next);
    enum klaviyo_query_outcome outcome = ask_for(query, one_of_many, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED && !list_page_parse(&response, page, err))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}

enum klaviyo_query_outcome klaviyo_query_list_size(struct klaviyo_query *query, const char *list_id,
                                                   int64_t *profiles, struct error *err)
{
    CLEANUP(response_release) struct response response = RESPONSE_INIT;
    struct request request = list_size_request(list_id);
    enum klaviyo_query_outcome outcome = ask_for(query, one_of_many, &request, &response, err);

    if (outcome == KLAVIYO_QUERY_ANSWERED && !list_size_parse(&response, profiles, err))
        return KLAVIYO_QUERY_FAILED;
    return outcome;
}
