#include "tests/simulator/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/simulator/document.h"
#include "tests/simulator/identity.h"

#define MEDIA_TYPE "application/vnd.api+json"
#define LIMITS_PAGE \
    "https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling#rate-limits"

void answer_init(struct answer *answer)
{
    *answer = (struct answer){
        .body = STRBUF_INIT(ANSWER_BODY_MAX),
        .retry_after_s = -1,
        .truncate = -1,
    };
}

void answer_release(struct answer *answer)
{
    strbuf_release(&answer->body);
}

void answer_header(struct answer *answer, const char *name, const char *fmt, ...)
{
    va_list args;

    if (answer->n_headers == ANSWER_HEADERS_MAX)
        return;
    size_t i = answer->n_headers++;
    (void)snprintf(answer->headers[i].name, sizeof answer->headers[i].name, "%s", name);
    va_start(args, fmt);
    (void)vsnprintf(answer->headers[i].value, sizeof answer->headers[i].value, fmt, args);
    va_end(args);
}

struct strbuf *answer_document(struct answer *answer, int status)
{
    answer->status = status;
    (void)snprintf(answer->content_type, sizeof answer->content_type, MEDIA_TYPE);
    strbuf_rewind(&answer->body, 0);
    return &answer->body;
}

static void add_source(struct strbuf *out, const struct problem *problem, const char *row_pointer)
{
    strbuf_add_str(out, problem->parameter ? "{\"parameter\":" : "{\"pointer\":");
    document_add_pointer(out, problem, row_pointer);
    strbuf_add_str(out, "}");
}

static void add_error(struct strbuf *out, int status, const char *title,
                      const struct problem *problem, const char *row_pointer)
{
    char id[IDENTITY_UUID_BYTES];

    identity_uuid(id);
    strbuf_addf(out, "{\"id\":\"%s\",\"status\":%d,\"code\":", id, status);
    document_add_string(out, problem->code);
    strbuf_add_str(out, ",\"title\":");
    document_add_string(out, title);
    strbuf_add_str(out, ",\"detail\":");
    document_add_string(out, problem->detail);
    strbuf_add_str(out, ",\"source\":");
    add_source(out, problem, row_pointer);
    /* Refusals of a key are recorded without these two. */
    strbuf_add_str(out, status == 401 ? "}" : ",\"links\":{},\"meta\":{}}");
}

void answer_error(struct answer *answer, int status, const char *code, const char *title,
                  const char *pointer, const char *fmt, ...)
{
    struct problem problem = { .row = PROBLEM_NO_ROW };
    va_list args;

    (void)snprintf(problem.code, sizeof problem.code, "%s", code);
    (void)snprintf(problem.pointer, sizeof problem.pointer, "%s", pointer);
    va_start(args, fmt);
    (void)vsnprintf(problem.detail, sizeof problem.detail, fmt, args);
    va_end(args);

    struct strbuf *out = answer_document(answer, status);
    strbuf_add_str(out, "{\"errors\":[");
    add_error(out, status, title, &problem, "");
    strbuf_add_str(out, "]}");
}

void answer_problems(struct answer *answer, const struct problems *problems,
                     const char *row_pointer)
{
    struct strbuf *out = answer_document(answer, 400);

    strbuf_add_str(out, "{\"errors\":[");
    for (size_t i = 0; i < problems->n; i++) {
        if (i > 0)
            strbuf_add_str(out, ",");
        add_error(out, 400, "Invalid input.", &problems->list[i], row_pointer);
    }
    strbuf_add_str(out, "]}");
}

void answer_bad_parameter(struct answer *answer, const char *parameter, const char *fmt, ...)
{
    struct problem problem = { .row = PROBLEM_NO_ROW, .parameter = true, .code = "invalid" };
    struct problems problems = { .list = &problem, .n = 1 };
    va_list args;

    (void)snprintf(problem.pointer, sizeof problem.pointer, "%s", parameter);
    va_start(args, fmt);
    (void)vsnprintf(problem.detail, sizeof problem.detail, fmt, args);
    va_end(args);
    answer_problems(answer, &problems, "");
}

static void add_throttled_member(struct strbuf *out, unsigned which, unsigned wait_s)
{
    static const char links[] = "\"links\":{\"type\":\"" LIMITS_PAGE "\"}";
    static const char *const fixed[] = {
        "\"status\":429",
        "\"code\":\"throttled\"",
        "\"title\":\"Request was throttled.\"",
        "\"source\":{\"pointer\":\"/data\"}",
        links,
        "\"meta\":{}",
    };

    if (which < sizeof fixed / sizeof fixed[0])
        strbuf_add_str(out, fixed[which]);
    else
        strbuf_addf(out, "\"detail\":\"Request was throttled. Expected available in %u second%s.\"",
                    wait_s, wait_s == 1 ? "" : "s");
}

/* The recorded ones have no content type, and their members come in any order. */
void answer_throttled(struct answer *answer, unsigned wait_s)
{
    char id[IDENTITY_UUID_BYTES];
    unsigned first = (unsigned)(identity_random() % 7);
    struct strbuf *out = answer_document(answer, 429);

    identity_uuid(id);
    answer->content_type[0] = '\0';
    strbuf_addf(out, "{\"errors\":[{\"id\":\"%s\"", id);
    for (unsigned i = 0; i < 7; i++) {
        strbuf_add_str(out, ",");
        add_throttled_member(out, (first + i) % 7, wait_s);
    }
    strbuf_add_str(out, "}]}");
    answer_header(answer, "retry-after", "%u", wait_s);
    answer->retry_after_s = (int)wait_s;
}

void answer_json(struct answer *answer, int status, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    (void)answer_document(answer, text ? status : 500);
    (void)snprintf(answer->content_type, sizeof answer->content_type, "application/json");
    strbuf_add_str(&answer->body, text ? text : "{\"error\":\"not JSON\"}");
    strbuf_add_str(&answer->body, "\n");
    free(text);
    json_decref(value);
}
