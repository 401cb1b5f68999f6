#include "worker/klaviyo/document.h"

#include <string.h>

#include "common/utf8.h"
#include "worker/klaviyo/member_json.h"

bool document_refuse(const struct response *response, const char *what, struct error *err)
{
    return error_set(err, ERROR_RETRY, "Klaviyo's answer to %s is malformed: %s",
                     endpoint_name(response->endpoint), what);
}

bool document_parse(const struct response *response, json_t **out, struct error *err)
{
    struct bytes body = { response->body ? response->body : "", response->body_bytes };
    CLEANUP(json_freep) json_t *root = member_json_load(body);

    if (!root)
        return document_refuse(response, "it is not JSON", err);
    if (!json_is_object(root))
        return document_refuse(response, "it is not an object", err);
    *out = json_take(&root);
    return true;
}

bool document_page_parse(const struct response *response, const char *what,
                         struct document_page *page, struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;
    json_t *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return document_refuse(response, what, err);
    const json_t *links = json_object_get(root, "links");
    *page = (struct document_page){ .data = data,
                                    .n = json_array_size(data),
                                    .next = json_string_value(json_object_get(links, "next")) };
    page->root = json_take(&root);
    return true;
}

void document_page_release(struct document_page *page)
{
    json_decref(page->root);
    *page = DOCUMENT_PAGE_INIT;
}

int64_t document_count(const json_t *value)
{
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

void document_copy(char *out, size_t size, const char *text)
{
    size_t n = text ? strnlen(text, size - 1) : 0;

    if (n > 0)
        n = utf8_cut(text, n);
    if (n > 0)
        memcpy(out, text, n);
    out[n] = '\0';
}
