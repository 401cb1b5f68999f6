#include "tests/simulator/admission.h"

#include <stdio.h>
#include <string.h>

#include "common/parse.h"

#define SECOND_US INT64_C(1000000)
#define DENIED_TITLE "You do not have permission to perform this action."

static struct lane *lane_of(const struct call *call)
{
    return &call->account->lanes[call->operation];
}

static void find_route(struct call *call)
{
    const struct request *request = call->request;

    switch (operation_find(request->method, request->path, &call->operation, call->id)) {
    case ROUTE_FOUND:
        call->routed = true;
        break;
    case ROUTE_NO_PATH:
        answer_error(call->answer, 404, "not_found", "Not found.", "/data",
                     "The path does not exist.");
        break;
    case ROUTE_NO_METHOD:
        answer_error(call->answer, 405, "method_not_allowed", "Method not allowed.", "/data",
                     "Method \"%s\" not allowed.", request->method);
        break;
    }
}

static void authenticate(struct call *call)
{
    static const char scheme[] = "Klaviyo-API-Key ";
    const char *header = call->request->authorization;
    const struct key *key = NULL;

    if (!header) {
        answer_error(call->answer, 401, "not_authenticated",
                     "Authentication credentials were not provided.", "/data/",
                     "Missing or invalid authorization scheme.");
        return;
    }
    if (strncmp(header, scheme, sizeof scheme - 1) == 0) {
        call->key = header + sizeof scheme - 1;
        key = accounts_key(&call->world->accounts, call->key);
    }
    if (!key) {
        answer_error(call->answer, 401, "authentication_failed",
                     "Incorrect authentication credentials.", "/data/",
                     "Incorrect authentication credentials.");
        return;
    }
    call->account = key->account;
    call->scopes = key->scopes;
}

/* Notes the arrival, and whether the client had been told to stay away. */
static void note_arrival(struct call *call)
{
    struct lane *lane = lane_of(call);
    int64_t at_us = call->request->at_us;

    traffic_arrival(&lane->traffic, at_us);
    if (at_us >= lane->promised_us && at_us < lane->promised_until_us)
        call->since_promise_us = at_us - lane->promised_us;
}

static void check_closed(struct call *call)
{
    int64_t left_us = lane_of(call)->closed_until_us - call->now_us;

    if (left_us > 0)
        answer_throttled(call->answer, (unsigned)((left_us + SECOND_US - 1) / SECOND_US));
}

static bool wants_profile_count(const struct call *call)
{
    const char *more = request_arg(call->request, "additional-fields[list]");

    return more && strstr(more, "profile_count");
}

/* Every limit that the request counts against must have room before any is counted. */
static void check_limits(struct call *call)
{
    enum operation lanes[] = { call->operation, OP_PROFILE_COUNT };
    size_t n = wants_profile_count(call) ? 2 : 1;
    int64_t phase_us = call->account->phase_us;

    for (size_t i = 0; i < n; i++) {
        struct limit_use *use = &call->account->lanes[lanes[i]].use;
        const struct limit *limit = operation_limit(lanes[i]);

        if (limit_has_room(limit, use, phase_us, call->now_us))
            continue;
        answer_throttled(call->answer, limit_wait_s(limit, use, phase_us, call->now_us));
        return;
    }
    for (size_t i = 0; i < n; i++)
        limit_count(operation_limit(lanes[i]), &call->account->lanes[lanes[i]].use, phase_us,
                    call->now_us);
}

/* YYYY-MM-DD, perhaps with a suffix behind a dot. */
static bool is_revision(const char *text)
{
    static const char pattern[] = "dddd-dd-dd";

    for (size_t i = 0; i < sizeof pattern - 1; i++)
        if (pattern[i] == '-' ? text[i] != '-' : text[i] < '0' || text[i] > '9')
            return false;
    return text[10] == '\0' || text[10] == '.';
}

static void check_revision(struct call *call)
{
    const char *revision = call->request->revision;

    if (call->behaviour.require_revision && (!revision || !is_revision(revision)))
        answer_error(call->answer, 400, "invalid", "Invalid input.", "/data",
                     "A valid revision header is required.");
}

static bool begins(const char *text, const char *with)
{
    return text && strncasecmp(text, with, strlen(with)) == 0;
}

static void check_media_type(struct call *call)
{
    const struct request *request = call->request;
    bool has_body = strcmp(request->method, "GET") != 0;
    bool plain = !request->content_encoding || begins(request->content_encoding, "identity");
    bool json = begins(request->content_type, "application/vnd.api+json") ||
                begins(request->content_type, "application/json");

    if (has_body && (!plain || !json))
        answer_error(call->answer, 415, "unsupported_media_type", "Unsupported media type.",
                     "/data", "Unsupported media type \"%s\" in request.",
                     request->content_type ? request->content_type : "");
}

static void check_scopes(struct call *call)
{
    unsigned missing = operation_scopes(call->operation) & ~call->scopes;

    if (operation_is_forbidden(call->operation))
        answer_error(call->answer, 403, "permission_denied", DENIED_TITLE, "/data/",
                     "This simulator never changes consent.");
    else if (missing)
        answer_error(call->answer, 403, "permission_denied", DENIED_TITLE, "/data/",
                     "The API key is missing the required scope %s.",
                     scope_name(missing & ~(missing - 1)));
}

static void set_headers(struct answer *answer, json_t *headers)
{
    const char *name;
    json_t *text;

    json_object_foreach(headers, name, text) {
        const char *value = json_string_value(text);
        int64_t seconds;

        answer_header(answer, name, "%s", value ? value : "");
        if (value && strcasecmp(name, "retry-after") == 0 && parse_int64(value, 0, 86400, &seconds))
            answer->retry_after_s = (int)seconds;
    }
}

static void answer_challenge(struct answer *answer)
{
    struct strbuf *out = answer_document(answer, 403);

    (void)snprintf(answer->content_type, sizeof answer->content_type, "text/html; charset=UTF-8");
    answer_header(answer, "cf-mitigated", "challenge");
    answer_header(answer, "server", "cloudflare");
    strbuf_add_str(out, "<!DOCTYPE html><html><head><title>Just a moment...</title></head>"
                        "<body>Enable JavaScript and cookies to continue</body></html>\n");
}

static void answer_status(struct answer *answer, const struct fault_action *action)
{
    if (action->body) {
        strbuf_add_str(answer_document(answer, action->status), action->body);
    } else {
        bool server = action->status >= 500;

        answer_error(answer, action->status, server ? "error" : "invalid",
                     server ? "A server error occurred." : "Invalid input.", "/data",
                     "A fault was asked for.");
    }
    if (action->content_type)
        (void)snprintf(answer->content_type, sizeof answer->content_type, "%s",
                       action->content_type);
    set_headers(answer, action->headers);
}

static void throttle(struct call *call, int seconds)
{
    lane_of(call)->closed_until_us = call->now_us + seconds * SECOND_US;
    answer_throttled(call->answer, (unsigned)seconds);
}

/* What the fault does instead of the work; and what is to happen later. */
static void strike(struct call *call, const struct fault_action *action)
{
    struct answer *answer = call->answer;

    call->delay_ms = action->delay_ms;
    call->malformed = action->malformed;
    call->reset_after = action->reset == RESET_AFTER;
    call->fate = action->fate;
    call->fate_rows = action->fate_rows;
    answer->truncate = action->truncate;
    if (action->throttle_s)
        throttle(call, action->throttle_s);
    else if (action->html403)
        answer_challenge(answer);
    else if (action->status)
        answer_status(answer, action);
    answer->reset = action->reset == RESET_BEFORE;
    call->faulted = answer->status != 0 || answer->reset;
}

static void draw_fault(struct call *call)
{
    struct fault_subject subject = {
        .method = call->request->method,
        .endpoint = operation_name(call->operation),
        .path = call->request->target,
        .key = call->key,
        .account = call->account->id,
    };
    const struct fault *fault = faults_draw(&call->world->faults, &subject);

    if (!fault)
        return;
    call->fault = fault->id;
    strike(call, &fault->action);
}

void admission_decide(struct call *call)
{
    static void (*const steps[])(struct call *) = {
        check_revision,
        check_media_type,
        check_scopes,
        draw_fault,
    };

    find_route(call);
    if (call->answer->status == 0)
        authenticate(call);
    if (call->answer->status) {
        traffic_arrival(&call->world->unmatched, call->request->at_us);
        return;
    }
    note_arrival(call);
    check_closed(call);
    if (call->answer->status == 0 && call->behaviour.limits)
        check_limits(call);
    call->limited = call->answer->status == 0;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && call->answer->status == 0; i++)
        steps[i](call);
}

/* A gateway's answers never saw the part of the service that counts. */
static bool is_from_gateway(const struct call *call)
{
    return call->faulted && call->answer->status != 500 && call->answer->status != 503;
}

void admission_add_headers(struct call *call)
{
    bool strict = call->routed && wants_profile_count(call);
    enum operation operation = strict ? OP_PROFILE_COUNT : call->operation;
    int64_t phase_us = call->account ? call->account->phase_us : 0;
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(128);

    if (!call->limited || call->answer->status == 429 || is_from_gateway(call))
        return;
    const struct limit *limit = operation_limit(operation);
    const struct limit_use *use = &call->account->lanes[operation].use;
    limit_describe(limit, &text);
    answer_header(call->answer, "ratelimit-limit", "%s", text.data);
    answer_header(call->answer, "ratelimit-remaining", "%u",
                  limit_remaining(limit, use, phase_us, call->now_us));
    answer_header(call->answer, "ratelimit-reset", "%u",
                  limit_reset_s(limit, phase_us, call->now_us));
}
