#include "worker/klaviyo/verdict.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/parse.h"
#include "worker/klaviyo/document.h"
#include "worker/klaviyo/problem.h"

/* ---- reading the errors of an answer ---- */

/*
 * What is noted down from the errors of one answer. text takes the words of all
 * rows: a JSON string is never longer decoded than in the document, quotes
 * included, so a buffer of the body's size cannot overflow.
 */
struct reading {
    struct verdict *verdict;
    size_t request_rows;
    size_t capacity;  /* of verdict->rows */
    size_t text_used; /* of verdict->text */
    size_t n_unnamed; /* errors that point at no row */
    bool no_memory;
};

/* A code is one word. Whatever is not may hold anything, and this copy is for logs. */
static void copy_code(char *out, const char *code)
{
    document_copy(out, VERDICT_CODE_BYTES, code);
    for (char *at = out; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("_-.", *at))
            *at = '?';
}

static void note_first(struct verdict *verdict, const struct problem *problem)
{
    copy_code(verdict->code, problem->code);
    document_copy(verdict->detail, sizeof verdict->detail, problem->detail);
}

static bool grow_rows(struct reading *reading)
{
    struct verdict *verdict = reading->verdict;

    if (verdict->n_rows < reading->capacity)
        return true;

    size_t capacity = reading->capacity ? reading->capacity * 2 : 16;
    struct verdict_row *rows = reallocarray(verdict->rows, capacity, sizeof *rows);
    if (!rows) {
        reading->no_memory = true;
        return false;
    }
    verdict->rows = rows;
    reading->capacity = capacity;
    return true;
}

static const char *keep_text(struct reading *reading, const char *text)
{
    char *kept = reading->verdict->text + reading->text_used;

    document_copy(kept, VERDICT_DETAIL_BYTES, text);
    reading->text_used += strlen(kept) + 1;
    return kept;
}

static bool note_row(struct reading *reading, size_t row, const struct problem *problem)
{
    struct verdict *verdict = reading->verdict;

    if (!grow_rows(reading))
        return false;
    verdict->rows[verdict->n_rows++] = (struct verdict_row){
        .row = row,
        .code = keep_text(reading, problem->code),
        .detail = keep_text(reading, problem->detail),
    };
    return true;
}

static bool note_problem(void *to, const struct problem *problem)
{
    struct reading *reading = to;
    int64_t row = problem->pointer ? import_error_row(problem->pointer) : -1;
    bool names_row = row >= 0 && (uint64_t)row < reading->request_rows;
    bool is_first = reading->verdict->n_rows + reading->n_unnamed == 0;

    /* An error that names no row explains more than one that does. */
    if (is_first || (!names_row && reading->n_unnamed == 0))
        note_first(reading->verdict, problem);
    if (names_row)
        return note_row(reading, (size_t)row, problem);
    reading->n_unnamed++;
    return true;
}

/* Errors of one row stay in the order in which they came: later text lies further up. */
static int compare_rows(const void *a, const void *b)
{
    const struct verdict_row *x = a, *y = b;

    if (x->row != y->row)
        return x->row > y->row ? 1 : -1;
    return (x->detail > y->detail) - (x->detail < y->detail);
}

static void sort_rows(struct verdict *verdict)
{
    size_t n = 0;

    if (verdict->n_rows == 0)
        return;
    qsort(verdict->rows, verdict->n_rows, sizeof *verdict->rows, compare_rows);
    for (size_t i = 0; i < verdict->n_rows; i++)
        if (i == 0 || verdict->rows[i].row != verdict->rows[n - 1].row)
            verdict->rows[n++] = verdict->rows[i];
    verdict->n_rows = n;
}

static bool is_html(const struct answer *answer)
{
    return answer->content_type && strcasestr(answer->content_type, "html");
}

/* What was noted of an answer that turns out not to be whole is void. */
static void forget(struct reading *reading)
{
    struct verdict *verdict = reading->verdict;

    verdict->n_rows = 0;
    verdict->code[0] = '\0';
    verdict->detail[0] = '\0';
    document_copy(verdict->why, sizeof verdict->why, "its body is not the JSON of Klaviyo's API");
}

/* *is_json: Klaviyo itself spoke, not a gateway in front of it. */
static bool read_errors(const struct answer *answer, struct reading *reading, bool *is_json,
                        struct error *err)
{
    struct verdict *verdict = reading->verdict;

    verdict->text = malloc(answer->body_bytes + 1);
    if (!verdict->text)
        return error_no_memory(err);

    *is_json = !is_html(answer) && problem_each(answer, note_problem, reading);
    if (reading->no_memory)
        return error_no_memory(err);
    if (*is_json)
        sort_rows(verdict);
    else
        forget(reading);
    return true;
}

/* ---- what they mean ---- */

static bool is_success(int status)
{
    return status >= 200 && status <= 299;
}

static enum verdict_action action_of_400(const struct reading *reading, enum endpoint endpoint)
{
    if (endpoint != ENDPOINT_IMPORT)
        return VERDICT_UNEXPECTED;
    return reading->n_unnamed == 0 && reading->verdict->n_rows > 0 ? VERDICT_ROWS_REFUSED
                                                                   : VERDICT_BATCH_REFUSED;
}

static enum verdict_action action_of_403(enum endpoint endpoint)
{
    return endpoint == ENDPOINT_ACCOUNTS || endpoint == ENDPOINT_USAGE ? VERDICT_SCOPE_MISSING
                                                                       : VERDICT_KEY_REFUSED;
}

static enum verdict_action action_of_404(enum endpoint endpoint)
{
    return endpoint_path(endpoint).after ? VERDICT_GONE : VERDICT_UNEXPECTED;
}

/* Answers that only Klaviyo can give: the same status from a gateway means nothing. */
static enum verdict_action action_of_refusal(const struct reading *reading, bool is_json)
{
    enum endpoint endpoint = reading->verdict->endpoint;

    if (!is_json)
        return VERDICT_AGAIN;
    switch (reading->verdict->status) {
    case 400:
        return action_of_400(reading, endpoint);
    case 401:
        return VERDICT_KEY_REFUSED;
    case 403:
        return action_of_403(endpoint);
    case 404:
        return action_of_404(endpoint);
    }
    return VERDICT_UNEXPECTED;
}

static enum verdict_action action_of(const struct reading *reading, bool is_json)
{
    int status = reading->verdict->status;

    if (status == 429)
        return VERDICT_THROTTLED;
    if (status == 408 || status == 425 || (status >= 500 && status <= 599))
        return VERDICT_AGAIN;
    if (status == 413 && reading->verdict->endpoint == ENDPOINT_IMPORT)
        return VERDICT_TOO_LARGE;
    if (status == 400 || status == 401 || status == 403 || status == 404)
        return action_of_refusal(reading, is_json);
    return VERDICT_UNEXPECTED;
}

/* Status and headers may have arrived, and some of them are enough. */
static enum verdict_action action_without_body(const struct answer *answer)
{
    if (answer->status == 429)
        return VERDICT_THROTTLED;
    /* So many errors that they cannot be read: fewer rows make fewer of them. */
    if (answer->transport == TRANSPORT_OVERSIZE && answer->status == 400 &&
        answer->endpoint == ENDPOINT_IMPORT)
        return VERDICT_BATCH_REFUSED;
    return VERDICT_AGAIN;
}

static enum verdict_action judge_success(const struct answer *answer, struct verdict *verdict)
{
    struct error malformed = ERROR_INIT;

    if (answer->endpoint != ENDPOINT_IMPORT)
        return VERDICT_OK;
    if (import_job_parse(answer, &verdict->job, &malformed))
        return VERDICT_ACCEPTED;
    document_copy(verdict->why, sizeof verdict->why, "its body holds no job with an id");
    return VERDICT_AGAIN;
}

static bool judge(const struct answer *answer, size_t request_rows, struct verdict *verdict,
                  struct error *err)
{
    /* Only a refused request has rows to be told apart. */
    struct reading reading = { .verdict = verdict,
                               .request_rows = answer->status == 400 ? request_rows : 0 };
    bool is_json;

    if (answer->transport != TRANSPORT_ANSWERED) {
        verdict->action = action_without_body(answer);
        return true;
    }
    if (is_success(answer->status)) {
        verdict->action = judge_success(answer, verdict);
        return true;
    }
    if (!read_errors(answer, &reading, &is_json, err))
        return false;
    verdict->action = action_of(&reading, is_json);
    return true;
}

bool verdict_judge(const struct answer *answer, size_t request_rows, int64_t now_us,
                   struct verdict *out, struct error *err)
{
    struct verdict verdict = { .endpoint = answer->endpoint, .status = answer->status };

    document_copy(verdict.why, sizeof verdict.why, answer->why);
    if (answer->retry_after &&
        !parse_retry_after(answer->retry_after, now_us, &verdict.retry_after_ms))
        verdict.retry_after_ms = 0;
    if (!judge(answer, request_rows, &verdict, err)) {
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
                                                 "accounts, usage:read for usage" },
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
