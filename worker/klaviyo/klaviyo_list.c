#include "worker/klaviyo/klaviyo_list.h"

#include <assert.h>
#include <string.h>

#include "worker/klaviyo/document.h"

static const char id_characters[] = "abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789_-";

/* The largest page[size] that Klaviyo admits. */
#define PAGE_TEXT "100"

static bool is_list_id(const char *id)
{
    size_t n = strlen(id);

    return n > 0 && n <= LIST_ID_MAX && strspn(id, id_characters) == n;
}

bool klaviyo_list_id_check(const char *id, struct error *err)
{
    if (is_list_id(id))
        return true;
    return error_set(err, ERROR_INPUT,
                     "not a list id: give the short code that ends the list's address in Klaviyo "
                     "(/lists/YafG4m: letters, digits, _ and -, at most %d)",
                     LIST_ID_MAX);
}

struct request klaviyo_list_request(const char *id)
{
    assert(*id);
    return (struct request){ .endpoint = ENDPOINT_LIST, .id = id };
}

struct request klaviyo_list_profiles_request(const char *id, const char *next)
{
    assert(*id);
    return (struct request){
        .endpoint = ENDPOINT_LIST_PROFILES,
        .id = id,
        .query = { { "fields[profile]", "email" }, { "page[size]", PAGE_TEXT } },
        .link = next,
    };
}

bool klaviyo_list_parse(const struct response *response, struct klaviyo_list *out,
                        struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;

    json_t *data = json_object_get(root, "data");
    const char *id = json_string_value(json_object_get(data, "id"));
    if (!id || !is_list_id(id))
        return document_refuse(response, "it holds no list", err);

    json_t *name = json_object_get(json_object_get(data, "attributes"), "name");
    document_copy(out->id, sizeof out->id, id);
    document_copy(out->name, sizeof out->name, json_string_value(name));
    return true;
}
