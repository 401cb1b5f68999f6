#include "worker/klaviyo/list_page.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/klaviyo/document.h"

struct request list_page_request(const char *next)
{
    return (struct request){
        .endpoint = ENDPOINT_LISTS,
        .query = { { "fields[list]", "name" }, { "page[size]", "10" }, { "sort", "-updated" } },
        .link = next,
    };
}

/* How many of them have an id. */
static size_t read_lists(const json_t *data, struct listed_list *lists)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(data); i++) {
        const json_t *resource = json_array_get(data, i);
        const json_t *attributes = json_object_get(resource, "attributes");
        const char *id = json_string_value(json_object_get(resource, "id"));
        const char *name = json_string_value(json_object_get(attributes, "name"));

        if (id && *id)
            lists[n++] = (struct listed_list){ id, name ? name : "" };
    }
    return n;
}

bool list_page_parse(const struct response *response, struct list_page *out, struct error *err)
{
    CLEANUP(document_page_release) struct document_page page = DOCUMENT_PAGE_INIT;

    if (!document_page_parse(response, "it holds no array of lists", &page, err))
        return false;
    struct listed_list *lists = calloc(page.n + 1, sizeof *lists);
    if (!lists)
        return error_no_memory(err);
    *out = (struct list_page){ .lists = lists,
                               .n = read_lists(page.data, lists),
                               .next = page.next,
                               .document = json_take(&page.root) };
    return true;
}

void list_page_release(struct list_page *page)
{
    free(page->lists);
    json_decref(page->document);
    *page = LIST_PAGE_INIT;
}

struct request list_size_request(const char *id)
{
    assert(*id);
    return (struct request){
        .endpoint = ENDPOINT_LIST_SIZE,
        .id = id,
        .query = { { "additional-fields[list]", "profile_count" } },
    };
}

bool list_size_parse(const struct response *response, int64_t *profiles, struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;
    const json_t *attributes = json_object_get(json_object_get(root, "data"), "attributes");
    if (!attributes)
        return document_refuse(response, "it holds no list", err);
    *profiles = document_count(json_object_get(attributes, "profile_count"));
    return true;
}
