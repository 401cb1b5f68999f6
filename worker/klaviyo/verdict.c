#include "worker/klaviyo/verdict.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/klaviyo/document.h"
#include "worker/klaviyo/refusal.h"
#include "worker/klaviyo/retry_after.h"

enum { THROTTLED_MS = 1000 /* a 429 that does not say for how long: the burst window */ };

/* ---- what a response means ---- */

static enum verdict_action action_of_400(enum endpoint endpoint, bool names_only_rows)
{
    if (endpoint == ENDPOINT_PROFILES || endpoint == ENDPOINT_LIST_REMOVE)
        return VERDICT_BATCH_REFUSED;
    if (endpoint != ENDPOINT_IMPORT)
        return VERDICT_UNEXPECTED;
    return names_only_rows ? VERDICT_ROWS_REFUSED : VERDICT_BATCH_REFUSED;
}

static enum verdict_action action_of_403(enum endpoint endpoint)
{
    bool is_extra = endpoint == ENDPOINT_ACCOUNTS || endpoint == ENDPOINT_USAGE ||
                    endpoint == ENDPOINT_FLOWS || endpoint == ENDPOINT_LIST_PROFILES ||
                    endpoint == ENDPOINT_LISTS || endpoint == ENDPOINT_LIST_SIZE;

    return is_extra ? VERDICT_SCOPE_MISSING : VERDICT_KEY_REFUSED;
}

static enum verdict_action action_of_404(enum endpoint endpoint)
{
    return endpoint_path(endpoint).after ? VERDICT_GONE : VERDICT_UNEXPECTED;
}

/* What only guards and previews ask for: a receiver, or a revision, may not have it. */
static bool is_optional(enum endpoint endpoint)
{
    return endpoint == ENDPOINT_USAGE || endpoint == ENDPOINT_FLOWS;
}

/* The same status from a gateway means nothing, except that an optional path is unknown. */
static enum verdict_action action_of_foreign_refusal(const struct response *response)
{
    bool is_unknown = response->status == 400 || response->status == 404;

    return is_unknown && is_optional(response->endpoint) ? VERDICT_UNEXPECTED : VERDICT_AGAIN;
}

/* Answers that only Klaviyo can give. */
static enum verdict_action action_of_refusal(const struct response *response,
                                             const struct refusal *refusal)
{
    if (!refusal->is_json)
        return action_of_foreign_refusal(response);
    switch (response->status) {
    case 400:
        return action_of_400(response->endpoint, refusal->names_only_rows);
    case 401:
        return VERDICT_KEY_REFUSED;
    case 403:
        return action_of_403(response->endpoint);
    case 404:
        return action_of_404(response->endpoint);
    case 409: /* of a removal alone: is somebody not on the list? */
    case 422:
        return VERDICT_BATCH_REFUSED;
    }
    return VERDICT_UNEXPECTED;
}

/* A gateway may answer with it, too. */
static bool is_refusal(enum endpoint endpoint, int status)
{
    if (status == 409 || status == 422)
        return endpoint == ENDPOINT_LIST_REMOVE;
    return status == 400 || status == 401 || status == 403 || status == 404;
}

/* Fewer rows make a shorter body, or a shorter address (414; 431 by some gateways). */
static bool is_too_large(enum endpoint endpoint, int status)
{
    if (endpoint == ENDPOINT_PROFILES || endpoint == ENDPOINT_LIST_REMOVE)
        return status == 413 || status == 414 || status == 431;
    return endpoint == ENDPOINT_IMPORT && status == 413;
}

static enum verdict_action action_of(const struct response *response, const struct refusal *refusal)
{
    int status = response->status;

    if (status == 429)
        return VERDICT_THROTTLED;
    if (status == 501 && is_optional(response->endpoint))
        return VERDICT_UNEXPECTED;
    if (status == 408 || status == 425 || (status >= 500 && status <= 599))
        return VERDICT_AGAIN;
    if (is_too_large(response->endpoint, status))
        return VERDICT_TOO_LARGE;
    if (is_refusal(response->endpoint, status))
        return action_of_refusal(response, refusal);
    return VERDICT_UNEXPECTED;
}

/* Status and headers may have arrived, and some of them are enough. */
static enum verdict_action action_without_body(const struct response *response)
{
    if (response->status == 429)
        return VERDICT_THROTTLED;
    /* Too many errors to be read: fewer rows make fewer of them. */
    if (response->transport == TRANSPORT_OVERSIZE && response->status == 400 &&
        response->endpoint == ENDPOINT_IMPORT)
        return VERDICT_BATCH_REFUSED;
    return VERDICT_AGAIN;
}

static enum verdict_action judge_success(const struct response *response, struct verdict *verdict)
{
    struct error malformed = ERROR_INIT;

    if (response->endpoint != ENDPOINT_IMPORT)
        return VERDICT_OK;
    if (import_job_parse(response, &verdict->job, &malformed))
        return VERDICT_ACCEPTED;
    document_copy(verdict->why, sizeof verdict->why, "its body holds no job with an id");
    return VERDICT_AGAIN;
}

static bool judge(const struct response *response, size_t request_rows, struct verdict *verdict,
                  struct error *err)
{
    struct refusal refusal;

    if (response->transport != TRANSPORT_ANSWERED) {
        verdict->action = action_without_body(response);
        return true;
    }
    if (response->status >= 200 && response->status <= 299) {
        verdict->action = judge_success(response, verdict);
        return true;
    }
    /* Only a 400 names rows. */
    if (!refusal_read(response, response->status == 400 ? request_rows : 0, verdict, &refusal, err))
        return false;
    verdict->action = action_of(response, &refusal);
    return true;
}

bool verdict_judge(const struct response *response, size_t request_rows, int64_t now_us,
                   struct verdict *out, struct error *err)
{
    struct verdict verdict = { .endpoint = response->endpoint, .status = response->status };

    document_copy(verdict.why, sizeof verdict.why, response->why);
    if (response->retry_after &&
        !retry_after_parse(response->retry_after, now_us, &verdict.retry_after_ms))
        verdict.retry_after_ms = 0;
    if (!judge(response, request_rows, &verdict, err)) {
        verdict_release(&verdict);
        return false;
    }
    *out = verdict;
    return true;
}

void verdict_release(struct verdict *verdict)
{
    free(verdict->rows);
    free(verdict->text);
    *verdict = VERDICT_INIT;
}

/* ---- in words ---- */

struct words {
    const char *name;
    const char *advice; /* for people */
};

static const struct words words[] = {
    [VERDICT_OK] = { "ok", NULL },
    [VERDICT_ACCEPTED] = { "accepted", NULL },
    [VERDICT_ROWS_REFUSED] = { "rows_refused", "it refuses some of the profiles" },
    [VERDICT_BATCH_REFUSED] = { "batch_refused", "it refuses the request as a whole" },
    [VERDICT_TOO_LARGE] = { "too_large", "it finds the request too large" },
    [VERDICT_KEY_REFUSED] = { "key_refused",
                              "give the connection a valid private key with the scopes "
                              "accounts:read, lists:read, lists:write, profiles:read and "
                              "profiles:write" },
    [VERDICT_SCOPE_MISSING] = { "scope_missing", "the API key lacks a scope: accounts:read for "
                                                 "accounts, usage:read for usage, flows:read for "
                                                 "flows, lists:read for lists, and with "
                                                 "profiles:read for list_profiles" },
    [VERDICT_GONE] = { "gone", "there is no such thing in this account; look at the id" },
    [VERDICT_THROTTLED] = { "throttled", "its rate limit is used up; try again in a minute" },
    [VERDICT_AGAIN] = { "again", "try again later" },
    [VERDICT_UNEXPECTED] = { "unexpected",
                             "its API is not documented to do so; look at KLAVIYO_BASE_URL and "
                             "KLAVIYO_REVISION" },
};

static const struct words *words_of(enum verdict_action action)
{
    assert(action < sizeof words / sizeof words[0]);
    return &words[action];
}

int64_t verdict_wait_ms(const struct verdict *verdict)
{
    if (verdict->action == VERDICT_THROTTLED && verdict->retry_after_ms == 0)
        return THROTTLED_MS;
    return verdict->action == VERDICT_THROTTLED || verdict->action == VERDICT_AGAIN
               ? verdict->retry_after_ms
               : 0;
}

const char *verdict_action_name(enum verdict_action action)
{
    return words_of(action)->name;
}

void verdict_text(const struct verdict *verdict, char *text)
{
    const char *asked = endpoint_name(verdict->endpoint);

    if (verdict->status == 0)
        (void)snprintf(text, VERDICT_TEXT_BYTES, "no answer of Klaviyo to %s: %s", asked,
                       verdict->why);
    else if (verdict->why[0])
        (void)snprintf(text, VERDICT_TEXT_BYTES, "Klaviyo's answer %d to %s is of no use: %s",
                       verdict->status, asked, verdict->why);
    else
        (void)snprintf(text, VERDICT_TEXT_BYTES, "Klaviyo answered %d%s%s to %s", verdict->status,
                       verdict->code[0] ? " " : "", verdict->code, asked);
}

bool verdict_error(const struct verdict *verdict, struct error *err)
{
    bool may_pass = verdict->action == VERDICT_AGAIN || verdict->action == VERDICT_THROTTLED;
    char text[VERDICT_TEXT_BYTES];

    assert(words_of(verdict->action)->advice);
    verdict_text(verdict, text);
    return error_set(err, may_pass ? ERROR_RETRY : ERROR_INPUT, "%s: %s", text,
                     words_of(verdict->action)->advice);
}
