#include "worker/admin/ask.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/retry.h"
#include "worker/admin/version.h"
#include "worker/klaviyo/client.h"
#include "worker/klaviyo/verdict.h"
#include "worker/store/budget.h"

/* A person waits for the answer: no longer than this, all attempts together. */
enum { PATIENCE_MS = 30000, ATTEMPTS_MAX = 4 };

struct asker {
    struct client *client;
    struct db *db;
    int64_t timeout_ms;
    char account[ACCOUNT_ID_BYTES + 16]; /* empty: nothing is counted */
};

struct asker *asker_new(const struct settings *settings, struct db *db, const struct secret *key,
                        const char *account, struct error *err)
{
    CLEANUP(asker_freep) struct asker *asker = calloc(1, sizeof *asker);

    if (!asker) {
        (void)error_no_memory(err);
        return NULL;
    }
    asker->db = db;
    asker->timeout_ms = settings->request_timeout_seconds * 1000;
    (void)snprintf(asker->account, sizeof asker->account, "%s", account ? account : "");
    asker->client = client_new(
        &(struct client_options){
            .base_url = settings->klaviyo_base_url,
            .revision = settings->klaviyo_revision,
            .user_agent = version_user_agent(),
            .api_key = key->bytes,
            .timeout_ms = asker->timeout_ms,
            .allow_http = true, /* the settings were checked for that */
        },
        err);
    return asker->client ? asker_take(&asker) : NULL;
}

void asker_free(struct asker *asker)
{
    if (!asker)
        return;
    client_free(asker->client);
    free(asker);
}

static void wait_ms(int64_t ms)
{
    (void)poll(NULL, 0, ms < PATIENCE_MS ? (int)ms : PATIENCE_MS);
}

/* Waits for a place in the budget; 0 in *place_id where nothing is counted. */
static bool take_place(struct asker *asker, enum endpoint endpoint, int64_t deadline_ms,
                       int64_t *place_id, struct error *err)
{
    struct endpoint_limit limit = endpoint_limit(endpoint);
    struct budget_claim claim = { .account = asker->account,
                                  .endpoint = endpoint_name(endpoint),
                                  .burst = limit.per_second,
                                  .steady = limit.per_minute,
                                  .timeout_ms = asker->timeout_ms };
    struct budget_place place = { .place_id = 0 };

    *place_id = 0;
    while (*asker->account) {
        if (!budget_take(asker->db, &claim, &place, err))
            return false;
        if (place.place_id != 0)
            break;
        if (clock_ms() + place.wait_ms > deadline_ms)
            return error_set(err, ERROR_RETRY,
                             "the requests that Klaviyo allows for this account are used up: try "
                             "again in %" PRId64 " seconds",
                             place.wait_ms / 1000 + 1);
        wait_ms(place.wait_ms);
    }
    *place_id = place.place_id;
    return true;
}

/* One request in its place; the verdict on its answer. */
static bool ask_once(struct asker *asker, const struct request *request, int64_t deadline_ms,
                     struct answer *answer, struct verdict *verdict, struct error *err)
{
    int64_t place_id;

    if (!take_place(asker, request->endpoint, deadline_ms, &place_id, err) ||
        !client_call(asker->client, request, answer, err))
        return false;
    if (place_id != 0 && !budget_return(asker->db, place_id, err))
        return false;
    return verdict_judge(answer, 0, clock_utc_us(), verdict, err);
}

static int64_t pause_before(unsigned attempt, const struct verdict *verdict)
{
    uint32_t random = 0;

    (void)!getrandom(&random, sizeof random, 0);
    return retry_wait_ms(RETRY_POLICY, attempt, random, verdict->retry_after_ms);
}

static enum ask_outcome outcome_of(const struct verdict *verdict, struct error *err)
{
    switch (verdict->action) {
    case VERDICT_OK:
        return ASK_ANSWERED;
    case VERDICT_GONE:
        return ASK_GONE;
    case VERDICT_KEY_REFUSED:
        (void)verdict_error(verdict, err);
        return ASK_KEY_REFUSED;
    case VERDICT_SCOPE_MISSING:
        (void)verdict_error(verdict, err);
        return ASK_SCOPE_MISSING;
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
    return ASK_FAILED;
}

/* Asks until there is an answer that says something, or patience is at its end. */
static enum ask_outcome ask(struct asker *asker, const struct request *request,
                            struct answer *answer, struct error *err)
{
    int64_t deadline_ms = clock_ms() + PATIENCE_MS;

    for (unsigned attempt = 1;; attempt++) {
        CLEANUP(verdict_release) struct verdict verdict = VERDICT_INIT;

        if (!ask_once(asker, request, deadline_ms, answer, &verdict, err))
            return ASK_FAILED;
        bool again = verdict.action == VERDICT_THROTTLED || verdict.action == VERDICT_AGAIN;
        int64_t pause_ms = again ? pause_before(attempt, &verdict) : 0;
        if (!again || attempt == ATTEMPTS_MAX || clock_ms() + pause_ms > deadline_ms)
            return outcome_of(&verdict, err);
        answer_release(answer);
        *answer = ANSWER_INIT;
        wait_ms(pause_ms);
    }
}

enum ask_outcome ask_account(struct asker *asker, struct account *account, struct error *err)
{
    CLEANUP(answer_release) struct answer answer = ANSWER_INIT;
    struct request request = account_request();
    enum ask_outcome outcome = ask(asker, &request, &answer, err);

    if (outcome == ASK_ANSWERED && !account_parse(&answer, account, err))
        return ASK_FAILED;
    return outcome;
}

enum ask_outcome ask_list(struct asker *asker, const char *list_id, struct list *list,
                          struct error *err)
{
    CLEANUP(answer_release) struct answer answer = ANSWER_INIT;
    struct request request = list_request(list_id);
    enum ask_outcome outcome = ask(asker, &request, &answer, err);

    if (outcome == ASK_ANSWERED && !list_parse(&answer, list, err))
        return ASK_FAILED;
    return outcome;
}

enum ask_outcome ask_usage(struct asker *asker, struct usage *usage, struct error *err)
{
    CLEANUP(answer_release) struct answer answer = ANSWER_INIT;
    struct request request = usage_request();
    enum ask_outcome outcome = ask(asker, &request, &answer, err);

    if (outcome == ASK_ANSWERED && !usage_parse(&answer, usage, err))
        return ASK_FAILED;
    return outcome;
}
