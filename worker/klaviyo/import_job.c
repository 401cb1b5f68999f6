#include "worker/klaviyo/import_job.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/parse.h"
#include "common/visible_text.h"
#include "worker/klaviyo/document.h"

#define TAIL_BEFORE_ID "]}},\"relationships\":{\"lists\":{\"data\":[{\"type\":\"list\",\"id\":\""
#define TAIL_AFTER_ID "\"}]}}}}"
#define PLAIN_TAIL "]}}}}"

/* IMPORT_JOB_PAGE_ROWS as a parameter. */
#define IMPORT_JOB_PAGE_TEXT "100"

const char import_job_head[] = "{\"data\":{\"type\":\"profile-bulk-import-job\","
                               "\"attributes\":{\"profiles\":{\"data\":[";

/* ---- the request ---- */

void import_job_add_tail(struct strbuf *out, const char *list_id)
{
    if (!list_id) {
        strbuf_add_str(out, PLAIN_TAIL);
        return;
    }
    strbuf_add_str(out, TAIL_BEFORE_ID);
    (void)visible_text_add(out, VISIBLE_JSON, list_id, strlen(list_id), SIZE_MAX);
    strbuf_add_str(out, TAIL_AFTER_ID);
}

size_t import_job_frame_bytes(const char *list_id)
{
    return strlen(import_job_head) + strlen(TAIL_BEFORE_ID) + strlen(TAIL_AFTER_ID) +
           visible_text_bytes(VISIBLE_JSON, list_id, strlen(list_id));
}

struct request import_job_request(const char *rows, size_t n, const struct strbuf *tail)
{
    assert(strbuf_ok(tail) && tail->len > 0);

    return (struct request){
        .endpoint = ENDPOINT_IMPORT,
        .body = { { import_job_head, strlen(import_job_head) },
                  { rows, n },
                  { tail->data, tail->len } },
    };
}

/* ---- the job ---- */

static enum import_job_status read_status(const char *word)
{
    static const struct {
        const char *word;
        enum import_job_status status;
    } words[] = {
        { "queued", IMPORT_JOB_QUEUED },
        { "processing", IMPORT_JOB_PROCESSING },
        { "complete", IMPORT_JOB_COMPLETE },
        { "cancelled", IMPORT_JOB_CANCELLED },
    };

    for (size_t i = 0; word && i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i].word) == 0)
            return words[i].status;
    return IMPORT_JOB_UNKNOWN;
}

/*
 * An id becomes part of a path, and is logged: nothing that could be read as
 * another path, no address. Seen: unpadded base64url.
 */
static bool is_job_id(const char *id)
{
    if (!id || !*id || strlen(id) >= IMPORT_JOB_ID_BYTES)
        return false;
    for (const char *at = id; *at; at++)
        if (!isascii((unsigned char)*at) ||
            (!isalnum((unsigned char)*at) && !strchr("-_.~=:+", *at)))
            return false;
    return strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

/* How many rows failed decides what is confirmed: a whole number, or not said. */
static bool is_count(const json_t *value)
{
    return !value || json_is_null(value) || document_count(value) >= 0;
}

static bool read_job(const json_t *resource, struct import_job *out)
{
    const char *id = json_string_value(json_object_get(resource, "id"));
    json_t *attributes = json_object_get(resource, "attributes");

    if (!is_job_id(id) || !is_count(json_object_get(attributes, "failed_count")))
        return false;
    document_copy(out->id, sizeof out->id, id);
    out->status = read_status(json_string_value(json_object_get(attributes, "status")));
    out->total = document_count(json_object_get(attributes, "total_count"));
    out->completed = document_count(json_object_get(attributes, "completed_count"));
    const json_t *failed = json_object_get(attributes, "failed_count");
    out->failed = failed ? document_count(failed) : IMPORT_JOB_NOT_COUNTED;
    return true;
}

bool import_job_has_ended(const struct import_job *job)
{
    return job->status == IMPORT_JOB_COMPLETE || job->status == IMPORT_JOB_CANCELLED;
}

struct request import_job_poll_request(const char *id)
{
    assert(is_job_id(id));
    return (struct request){ .endpoint = ENDPOINT_JOB, .id = id };
}

bool import_job_parse(const struct response *response, struct import_job *out, struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;
    if (!read_job(json_object_get(root, "data"), out))
        return document_refuse(response, "it holds no job with an id and counts", err);
    return true;
}

/* ---- many jobs at once ---- */

struct request import_job_listing_request(void)
{
    return (struct request){
        .endpoint = ENDPOINT_JOBS,
        .query = { { "page[size]", IMPORT_JOB_PAGE_TEXT }, { "sort", "-created_at" } },
    };
}

bool import_job_listing_parse(const struct response *response, struct import_job_listing *out,
                              struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;

    json_t *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return document_refuse(response, "it is no listing of jobs", err);

    struct import_job *jobs = calloc(json_array_size(data) + 1, sizeof *jobs);
    if (!jobs)
        return error_no_memory(err);

    size_t i, n = 0;
    json_t *resource;
    json_array_foreach(data, i, resource)
        if (read_job(resource, &jobs[n]))
            n++;
    *out = (struct import_job_listing){ jobs, n };
    return true;
}

const struct import_job *import_job_listing_find(const struct import_job_listing *listing,
                                                 const char *id)
{
    for (size_t i = 0; i < listing->n; i++)
        if (strcmp(listing->jobs[i].id, id) == 0)
            return &listing->jobs[i];
    return NULL;
}

void import_job_listing_release(struct import_job_listing *listing)
{
    free(listing->jobs);
    *listing = IMPORT_JOB_LISTING_INIT;
}

/* ---- what a job did not import ---- */

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
    assert(is_job_id(id));
    return (struct request){
        .endpoint = ENDPOINT_IMPORT_ERRORS,
        .id = id,
        .query = { { "page[size]", IMPORT_JOB_PAGE_TEXT } },
        .link = next,
    };
}

bool import_error_page_parse(const struct response *response, struct import_error_page *out,
                             struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;

    json_t *data = json_object_get(root, "data");
    if (!json_is_array(data))
        return document_refuse(response, "it is no page of import errors", err);

    struct import_error *errors = calloc(json_array_size(data) + 1, sizeof *errors);
    if (!errors)
        return error_no_memory(err);

    size_t i;
    json_t *resource;
    json_array_foreach(data, i, resource)
        errors[i] = read_error(resource);
    *out = (struct import_error_page){
        .errors = errors,
        .n = json_array_size(data),
        .next = json_string_value(json_object_get(json_object_get(root, "links"), "next")),
        .document = json_take(&root),
    };
    return true;
}

void import_error_page_release(struct import_error_page *page)
{
    free(page->errors);
    json_decref(page->document);
    *page = IMPORT_ERROR_PAGE_INIT;
}
