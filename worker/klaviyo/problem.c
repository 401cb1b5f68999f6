#include "worker/klaviyo/problem.h"

#include <string.h>

#include "common/huge_numbers.h"
#include "worker/klaviyo/document.h" /* IWYU pragma: keep */

struct scan {
    const char *at;
    const char *end;
    bool (*note)(void *to, const struct problem *problem);
    void *to;
};

static bool skip_blanks(struct scan *s)
{
    while (s->at != s->end && *s->at && strchr(" \t\r\n", *s->at))
        s->at++;
    return s->at != s->end;
}

/* Blanks and then this character; stays in front of any other. */
static bool skip(struct scan *s, char wanted)
{
    if (!skip_blanks(s) || *s->at != wanted)
        return false;
    s->at++;
    return true;
}

/* The next JSON value, whatever it is; NULL: there is none. */
static json_t *take_value(struct scan *s)
{
    json_error_t read;
    json_t *value = json_loadb(s->at, (size_t)(s->end - s->at),
                               JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &read);

    if (value)
        s->at += read.position;
    return value;
}

static bool skip_value(struct scan *s)
{
    CLEANUP(json_freep) json_t *value = take_value(s);

    return value != NULL;
}

static bool note_error(struct scan *s)
{
    CLEANUP(json_freep) json_t *error = take_value(s);
    json_t *source = json_object_get(error, "source");

    if (!error)
        return false;
    return s->note(s->to, &(struct problem){
                              .code = json_string_value(json_object_get(error, "code")),
                              .detail = json_string_value(json_object_get(error, "detail")),
                              .pointer = json_string_value(json_object_get(source, "pointer")),
                          });
}

/* Behind the opening bracket. */
static bool scan_errors(struct scan *s)
{
    if (skip(s, ']'))
        return true;
    do {
        if (!note_error(s))
            return false;
    } while (skip(s, ','));
    return skip(s, ']');
}

static bool scan_member(struct scan *s)
{
    CLEANUP(json_freep) json_t *name = take_value(s);

    if (!json_is_string(name) || !skip(s, ':'))
        return false;
    if (strcmp(json_string_value(name), "errors") == 0 && skip(s, '['))
        return scan_errors(s);
    return skip_value(s);
}

static bool scan_members(struct scan *s)
{
    if (skip(s, '}'))
        return true;
    do {
        if (!scan_member(s))
            return false;
    } while (skip(s, ','));
    return skip(s, '}');
}

bool problem_each(const struct response *response,
                  bool (*note)(void *to, const struct problem *problem), void *to)
{
    CLEANUP(strbuf_release) struct strbuf body = STRBUF_INIT(2 * response->body_bytes);

    /* An error may show the value that it is about. */
    quote_huge_numbers((struct bytes){ response->body, response->body_bytes }, &body);
    if (!body.data || !strbuf_ok(&body))
        return false;

    struct scan s = { body.data, body.data + body.len, note, to };
    return skip(&s, '{') && scan_members(&s) && !skip_blanks(&s);
}
