#include "worker/klaviyo/url.h"

#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

enum { PATH_MAX_BYTES = 2048, PARAMETER_MAX_BYTES = 8192 /* before it is escaped */ };

static const char API_PATH[] = "/api/"; /* every path of Klaviyo's begins with it */

DEFINE_HANDLE(url, CURLU, curl_url_cleanup)
DEFINE_HANDLE(curl_text, char, curl_free)

/* To be freed by curl_free(); NULL: there is no such part. */
static char *url_part(CURLU *url, CURLUPart part, unsigned flags)
{
    char *text = NULL;

    return curl_url_get(url, part, &text, flags) == CURLUE_OK ? text : NULL;
}

/* *out: to be cleaned up by the caller. */
static bool parse_base(const char *base_url, CURLU **out, struct error *err)
{
    CLEANUP(url_freep) CURLU *base = curl_url();

    if (!base)
        return error_no_memory(err);
    CURLUcode code = curl_url_set(base, CURLUPART_URL, base_url, 0);
    if (code == CURLUE_OUT_OF_MEMORY)
        return error_no_memory(err);
    if (code)
        return error_set(err, ERROR_INPUT, "the base URL is not a URL");
    *out = url_take(&base);
    return true;
}

/* Receivers take these for steps up the path, also where the dots are escaped. */
static bool is_step(const char *id)
{
    return strcmp(id, ".") == 0 || strcmp(id, "..") == 0;
}

static bool set_path(CURLU *url, const struct request *request)
{
    struct endpoint_path path = endpoint_path(request->endpoint);
    assert(!path.after || (request->id && *request->id)); /* nothing would ask for the listing */

    CLEANUP(curl_text_freep) char *base = url_part(url, CURLUPART_PATH, 0);
    CLEANUP(curl_text_freep)
    char *id = path.after ? curl_easy_escape(NULL, request->id, 0) : NULL;
    CLEANUP(strbuf_release) struct strbuf whole = STRBUF_INIT(PATH_MAX_BYTES);

    if (!base || (path.after && !id))
        return false;
    size_t n = strlen(base);
    strbuf_add(&whole, base, n > 0 && base[n - 1] == '/' ? n - 1 : n);
    strbuf_add_str(&whole, path.before);
    if (path.after) {
        strbuf_add_str(&whole, id);
        strbuf_add_str(&whole, path.after);
    }
    return strbuf_ok(&whole) && curl_url_set(url, CURLUPART_PATH, whole.data, 0) == CURLUE_OK;
}

static bool add_query(CURLU *url, const struct request *request)
{
    for (size_t i = 0; i < REQUEST_PARAMETERS_MAX && request->query[i].name; i++) {
        CLEANUP(strbuf_release) struct strbuf pair = STRBUF_INIT(PARAMETER_MAX_BYTES);

        strbuf_addf(&pair, "%s=%s", request->query[i].name, request->query[i].value);
        if (!strbuf_ok(&pair) ||
            curl_url_set(url, CURLUPART_QUERY, pair.data, CURLU_APPENDQUERY | CURLU_URLENCODE))
            return false;
    }
    return true;
}

/*
 * Is it the path of this request? Klaviyo ends paths in links with a slash, also
 * where ours has none; behind a gateway ours may begin with more than Klaviyo's.
 */
static bool is_same_page(CURLU *ours, CURLU *link)
{
    CLEANUP(curl_text_freep) char *x = url_part(ours, CURLUPART_PATH, CURLU_URLDECODE);
    CLEANUP(curl_text_freep) char *y = url_part(link, CURLUPART_PATH, CURLU_URLDECODE);

    if (!x || !y)
        return false;
    size_t n = strlen(x), m = strlen(y);
    if (m > 1 && y[m - 1] == '/')
        m--;
    return (m == n || (m < n && strncmp(y, API_PATH, sizeof API_PATH - 1) == 0)) &&
           strncmp(x + n - m, y, m) == 0;
}

/*
 * Takes over nothing but the query, and that only from a link to where we are
 * going anyway. Its host does not count: Klaviyo names its own also to those
 * that came through a gateway, and the key goes to base_url alone.
 */
static bool follow_link(CURLU *url, const char *link, struct error *err)
{
    CLEANUP(url_freep) CURLU *there = curl_url_dup(url);

    if (!there)
        return error_no_memory(err);
    if (curl_url_set(there, CURLUPART_URL, link, 0))
        return error_set(err, ERROR_RETRY, "the link to the next page is not a URL");
    if (!is_same_page(url, there))
        return error_set(err, ERROR_RETRY,
                         "the link to the next page leads elsewhere: not followed");

    CLEANUP(curl_text_freep) char *query = url_part(there, CURLUPART_QUERY, 0);
    if (!query || !*query)
        return error_set(err, ERROR_RETRY, "the link to the next page names no page");
    if (curl_url_set(url, CURLUPART_QUERY, query, 0))
        return error_no_memory(err);
    return true;
}

/* The last check after all of the above: a URL that is not visible ASCII is not requested. */
static bool is_visible_ascii(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~')
            return false;
    return true;
}

static bool copy_checked(const char *text, char **out, struct error *err)
{
    if (!is_visible_ascii(text))
        return error_set(err, ERROR_RETRY,
                         "the address of the request would hold characters that are not ASCII");
    char *copy = strdup(text);
    if (!copy)
        return error_no_memory(err);
    *out = copy;
    return true;
}

bool url_make(const char *base_url, const struct request *request, char **out, struct error *err)
{
    CLEANUP(url_freep) CURLU *url = NULL;

    if (request->id && is_step(request->id))
        return error_set(err, ERROR_INPUT, "%s is no id", request->id);
    if (!parse_base(base_url, &url, err))
        return false;
    if (!set_path(url, request))
        return error_no_memory(err);
    if (request->link && !follow_link(url, request->link, err))
        return false;
    if (!request->link && !add_query(url, request))
        return error_no_memory(err);

    CLEANUP(curl_text_freep) char *text = url_part(url, CURLUPART_URL, 0);
    return text ? copy_checked(text, out, err) : error_no_memory(err);
}
