#include "worker/klaviyo/account.h"

#include <ctype.h>
#include <string.h>

#include "worker/klaviyo/document.h"

#define PRIVATE_PREFIX "pk_"
enum { PREFIX_LENGTH = sizeof PRIVATE_PREFIX - 1, PUBLIC_KEY_LENGTH = 6 };

static bool is_all(const char *text, size_t n, int (*is)(int c))
{
    for (size_t i = 0; i < n; i++)
        if (!isascii((unsigned char)text[i]) || !is((unsigned char)text[i]))
            return false;
    return true;
}

bool api_key_check(const char *key, size_t n, struct error *err)
{
    bool has_prefix = n > PREFIX_LENGTH && memcmp(key, PRIVATE_PREFIX, PREFIX_LENGTH) == 0;

    if (!has_prefix && n == PUBLIC_KEY_LENGTH && is_all(key, n, isalnum))
        return error_set(err, ERROR_INPUT,
                         "this is the public key of an account (its 6-character site id); the "
                         "private one is needed, which begins with " PRIVATE_PREFIX);
    if (!has_prefix)
        return error_set(err, ERROR_INPUT,
                         "not a private API key of Klaviyo: those begin with " PRIVATE_PREFIX);
    if (n > API_KEY_MAX)
        return error_set(err, ERROR_INPUT, "not an API key: longer than %d characters",
                         API_KEY_MAX);
    if (!is_all(key, n, isgraph))
        return error_set(err, ERROR_INPUT,
                         "not an API key: it holds blanks, line ends or characters that are not "
                         "ASCII; give the key alone, on one line");
    return true;
}

struct request account_request(void)
{
    return (struct request){ .endpoint = ENDPOINT_ACCOUNTS };
}

bool account_parse(const struct response *response, struct account *out, struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;

    /* An array of one; a single object would do as well. */
    json_t *data = json_object_get(root, "data");
    json_t *account = json_is_array(data) ? json_array_get(data, 0) : data;
    const char *id = json_string_value(json_object_get(account, "id"));
    if (!id || !*id || strlen(id) >= sizeof out->id)
        return document_refuse(response, "it holds no account", err);

    json_t *contact =
        json_object_get(json_object_get(account, "attributes"), "contact_information");
    document_copy(out->id, sizeof out->id, id);
    document_copy(out->name, sizeof out->name,
                  json_string_value(json_object_get(contact, "organization_name")));
    return true;
}
