#include "worker/klaviyo/profile_lookup.h"

#include <stdlib.h>
#include <string.h>

#include "worker/klaviyo/document.h"

#define FILTER_HEAD "any(email,["
#define FILTER_TAIL "])"

/* The largest page[size] that Klaviyo admits. */
#define PAGE_TEXT "100"

static const char id_characters[] = "abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789_-";

void profile_lookup_begin(struct strbuf *filter)
{
    strbuf_rewind(filter, 0);
    strbuf_add_str(filter, FILTER_HEAD);
}

bool profile_lookup_add(struct strbuf *filter, const char *address)
{
    bool first = filter->len == sizeof FILTER_HEAD - 1;
    size_t needed = strlen(address) + sizeof ",\"\"" - 1 + sizeof FILTER_TAIL - 1;

    if (!first && filter->len + needed > PROFILE_LOOKUP_MAX_BYTES)
        return false;
    strbuf_addf(filter, "%s\"%s\"", first ? "" : ",", address);
    return true;
}

void profile_lookup_end(struct strbuf *filter)
{
    strbuf_add_str(filter, FILTER_TAIL);
}

struct request profile_lookup_request(const char *filter, const char *next)
{
    return (struct request){
        .endpoint = ENDPOINT_PROFILES,
        .query = { { "filter", filter },
                   { "fields[profile]", "email" },
                   { "page[size]", PAGE_TEXT } },
        .link = next,
    };
}

/* An id goes into a body of ours. */
static bool is_profile_id(const char *id)
{
    size_t n = id ? strlen(id) : 0;

    return n > 0 && n < PROFILE_ID_BYTES && strspn(id, id_characters) == n;
}

static bool read_profiles(const json_t *data, struct found_profile *profiles)
{
    size_t i;
    json_t *resource;

    json_array_foreach(data, i, resource) {
        const json_t *attributes = json_object_get(resource, "attributes");
        const char *email = json_string_value(json_object_get(attributes, "email"));

        profiles[i].id = json_string_value(json_object_get(resource, "id"));
        profiles[i].email = email ? email : "";
        if (!is_profile_id(profiles[i].id))
            return false;
    }
    return true;
}

bool profile_page_parse(const struct response *response, struct profile_page *out,
                        struct error *err)
{
    CLEANUP(document_page_release) struct document_page page = DOCUMENT_PAGE_INIT;

    if (!document_page_parse(response, "it is no page of profiles", &page, err))
        return false;
    struct found_profile *profiles = calloc(page.n + 1, sizeof *profiles);
    if (!profiles)
        return error_no_memory(err);
    if (!read_profiles(page.data, profiles)) {
        free(profiles);
        return document_refuse(response, "a profile in it has no id", err);
    }
    *out = (struct profile_page){
        .profiles = profiles, .n = page.n, .next = page.next, .document = json_take(&page.root)
    };
    return true;
}

void profile_page_release(struct profile_page *page)
{
    free(page->profiles);
    json_decref(page->document);
    *page = PROFILE_PAGE_INIT;
}
