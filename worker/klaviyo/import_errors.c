#include "worker/klaviyo/import_errors.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/parse.h"
#include "worker/klaviyo/document.h"
#include "worker/klaviyo/import_job.h"

int64_t import_error_row(const char *pointer)
{
    static const char before[] = "/data/attributes/profiles/data/";
    char digits[20];
    int64_t row;

    if (strncmp(pointer, before, strlen(before)) != 0)
        return -1;

    const char *number = pointer + strlen(before);
    size_t n = strspn(number, "0123456789");
    if (n == 0 || n >= sizeof digits || (number[n] && number[n] != '/'))
        return -1;

    memcpy(digits, number, n);
    digits[n] = '\0';
    return parse_int64(digits, 0, INT64_MAX, &row) ? row : -1;
}

/*
 * Where the address is, is not documented: seen as a member of the payload
 * itself, and expected where the request has it.
 */
static const char *find_email(const json_t *payload)
{
    json_t *wrapped = json_object_get(json_object_get(payload, "data"), "attributes");
    const json_t *places[] = { payload, json_object_get(payload, "attributes"), wrapped };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *email = json_string_value(json_object_get(places[i], "email"));

        if (email && *email)
            return email;
    }
    return NULL;
}

static const char *text_or_empty(const json_t *value)
{
    const char *text = json_string_value(value);

    return text ? text : "";
}

static struct import_error read_error(const json_t *resource)
{
    json_t *attributes = json_object_get(resource, "attributes");
    json_t *source = json_object_get(attributes, "source");

    return (struct import_error){
        .email = find_email(json_object_get(attributes, "original_payload")),
        .row = import_error_row(text_or_empty(json_object_get(source, "pointer"))),
        .code = text_or_empty(json_object_get(attributes, "code")),
        .detail = text_or_empty(json_object_get(attributes, "detail")),
    };
}

struct request import_error_request(const char *id, const char *next)
{
    assert(import_job_is_id(id));
    return (struct request){
        .endpoint = ENDPOINT_IMPORT_ERRORS,
        .id = id,
        .query = { { "page[size]", IMPORT_JOB_PAGE_ROWS } },
        .link = next,
    };
}

bool import_error_page_parse(const struct response *response, struct import_error_page *out,
                             struct error *err)
{
    CLEANUP(document_page_release) struct document_page page = DOCUMENT_PAGE_INIT;

    if (!document_page_parse(response, "it is no page of import errors", &page, err))
        return false;
    struct import_error *errors = calloc(page.n + 1, sizeof *errors);
    if (!errors)
        return error_no_memory(err);

    size_t i;
    json_t *resource;
    json_array_foreach(page.data, i, resource)
        errors[i] = read_error(resource);
    *out = (struct import_error_page){
        .errors = errors, .n = page.n, .next = page.next, .document = json_take(&page.root)
    };
    return true;
}

void import_error_page_release(struct import_error_page *page)
{
    free(page->errors);
    json_decref(page->document);
    *page = IMPORT_ERROR_PAGE_INIT;
}
