#include "tests/simulator/page.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/parse.h"
#include "tests/simulator/document.h"
#include "tests/simulator/identity.h"

#define PREFIX "next::"

enum { URL_MAX = 256 * 1024 }; /* encoding makes a target three times as long */

void page_cursor_format(char *cursor, int64_t key, int64_t number)
{
    char text[64];

    (void)snprintf(text, sizeof text, PREFIX "%" PRId64 "::%" PRId64, key, number);
    identity_base64url(cursor, text, strlen(text));
}

static int base64_digit(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *digit = c ? strchr(alphabet, c) : NULL;

    return digit ? (int)(digit - alphabet) : -1;
}

/* out has room for PAGE_CURSOR_BYTES. */
static bool decode(const char *cursor, char *out)
{
    uint32_t bits = 0;
    unsigned have = 0;

    if (strlen(cursor) >= PAGE_CURSOR_BYTES)
        return false;
    for (; *cursor; cursor++) {
        int digit = base64_digit(*cursor);

        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        *out++ = (char)(bits >> have & 0xff);
    }
    *out = '\0';
    return true;
}

bool page_cursor_parse(const char *cursor, int64_t *key, int64_t *number)
{
    char text[PAGE_CURSOR_BYTES];

    if (!decode(cursor, text) || strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return false;

    char *first = text + sizeof PREFIX - 1;
    char *middle = strstr(first, "::");
    if (!middle)
        return false;
    *middle = '\0';
    return parse_int64(first, INT64_MIN, INT64_MAX, key) &&
           parse_int64(middle + 2, INT64_MIN, INT64_MAX, number);
}

bool page_parse(struct page *page, const struct request *request, struct page_limits limits,
                struct answer *answer)
{
    const char *size = request_arg(request, "page[size]");
    const char *cursor = request_arg(request, "page[cursor]");
    int64_t number = (int64_t)limits.fallback;

    *page = (struct page){ 0 };
    if (size && !parse_int64(size, 1, (int64_t)limits.max, &number)) {
        answer_bad_parameter(answer, "page[size]", "Page size must be from 1 to %zu.", limits.max);
        return false;
    }
    page->size = (size_t)number;
    page->begun = cursor != NULL;
    if (cursor && !page_cursor_parse(cursor, &page->key, &page->number)) {
        answer_bad_parameter(answer, "page[cursor]", "Invalid cursor.");
        return false;
    }
    return true;
}

bool page_is_ahead(const struct page *page, int64_t key, int64_t number)
{
    if (!page->begun)
        return true;
    return key > page->key || (key == page->key && number > page->number);
}

void page_add_base(struct strbuf *out, const struct request *request)
{
    strbuf_addf(out, "http://%s", request->host ? request->host : "127.0.0.1");
}

static void add_encoded(struct strbuf *out, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~";

    for (; *text; text++) {
        if (strchr(safe, *text))
            strbuf_add(out, text, 1);
        else
            strbuf_addf(out, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

static void add_next_url(struct strbuf *out, const struct request *request, const char *cursor)
{
    page_add_base(out, request);
    strbuf_add(out, request->target, strcspn(request->target, "?"));
    strbuf_addf(out, "?page%%5Bcursor%%5D=%s", cursor);
    for (size_t i = 0; i < request->n_args; i++) {
        if (strcmp(request->args[i].name, "page[cursor]") == 0)
            continue;
        strbuf_add_str(out, "&");
        add_encoded(out, request->args[i].name);
        strbuf_add_str(out, "=");
        add_encoded(out, request->args[i].value ? request->args[i].value : "");
    }
}

static void add_self_member(struct strbuf *out, const struct request *request)
{
    CLEANUP(strbuf_release) struct strbuf url = STRBUF_INIT(URL_MAX);

    page_add_base(&url, request);
    strbuf_add_str(&url, request->target);
    strbuf_add_str(out, "\"links\":{\"self\":");
    document_add_string(out, url.data);
}

void page_add_self(struct strbuf *out, const struct request *request)
{
    add_self_member(out, request);
    strbuf_add_str(out, "}");
}

void page_add_links(struct strbuf *out, const struct request *request, bool more, int64_t key,
                    int64_t number)
{
    CLEANUP(strbuf_release) struct strbuf url = STRBUF_INIT(URL_MAX);
    char cursor[PAGE_CURSOR_BYTES];

    if (more) {
        page_cursor_format(cursor, key, number);
        add_next_url(&url, request, cursor);
    }
    add_self_member(out, request);
    strbuf_add_str(out, ",\"next\":");
    document_add_string(out, url.data);
    strbuf_add_str(out, ",\"prev\":null}");
}
