#include "worker/klaviyo/import_job.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "worker/klaviyo/document.h"

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

/* Letters and underscores only: nothing of a person's is in it. Else it is left out. */
static void keep_odd_status(struct import_job *job, const char *word)
{
    bool is_word = word && strlen(word) < IMPORT_JOB_ODD_BYTES;

    for (const char *at = word; is_word && *at; at++)
        is_word = *at == '_' || (isascii((unsigned char)*at) && isalpha((unsigned char)*at));
    document_copy(job->odd_status, sizeof job->odd_status,
                  is_word && job->status == IMPORT_JOB_UNKNOWN ? word : NULL);
}

/* Seen: unpadded base64url. */
bool import_job_is_id(const char *id)
{
    if (!id || !*id || strlen(id) >= IMPORT_JOB_ID_BYTES)
        return false;
    for (const char *at = id; *at; at++)
        if (!isascii((unsigned char)*at) ||
            (!isalnum((unsigned char)*at) && !strchr("-_.~=:+", *at)))
            return false;
    return strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

/* How many rows failed decides what is confirmed: a whole number, or unknown. */
static bool is_count(const json_t *value)
{
    return !value || json_is_null(value) || document_count(value) >= 0;
}

bool import_job_read(const json_t *resource, struct import_job *out)
{
    const char *id = json_string_value(json_object_get(resource, "id"));
    json_t *attributes = json_object_get(resource, "attributes");

    if (!import_job_is_id(id) || !is_count(json_object_get(attributes, "failed_count")))
        return false;
    document_copy(out->id, sizeof out->id, id);
    const char *status = json_string_value(json_object_get(attributes, "status"));
    out->status = read_status(status);
    keep_odd_status(out, status);
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
    assert(import_job_is_id(id));
    return (struct request){ .endpoint = ENDPOINT_JOB, .id = id };
}

bool import_job_parse(const struct response *response, struct import_job *out, struct error *err)
{
    CLEANUP(json_freep) json_t *root = NULL;

    if (!document_parse(response, &root, err))
        return false;
    if (!import_job_read(json_object_get(root, "data"), out))
        return document_refuse(response, "it holds no job with an id and counts", err);
    return true;
}
