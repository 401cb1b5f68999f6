#include "worker/ingest/dead_letter.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/parse.h"
#include "worker/ingest/event.h"

#define H_TOPIC "__connect.errors.topic"
#define H_PARTITION "__connect.errors.partition"
#define H_OFFSET "__connect.errors.offset"
#define H_CLASS "__connect.errors.exception.class.name"
#define H_MESSAGE "__connect.errors.exception.message"
#define H_REASON "x-klaviyo-worker-reason"
#define H_EXPORTS "x-klaviyo-worker-exports"
#define H_RUN_ID "x-klaviyo-worker-run-id"
#define H_ATTEMPTS "x-klaviyo-worker-attempts"
#define H_VALUE_BYTES "x-klaviyo-worker-value-bytes"

static const char *const ours[DEAD_LETTER_HEADERS] = {
    H_TOPIC,  H_PARTITION, H_OFFSET, H_CLASS,    H_MESSAGE,
    H_REASON, H_EXPORTS,   H_RUN_ID, H_ATTEMPTS, H_VALUE_BYTES,
};

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < DEAD_LETTER_HEADERS; i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

/* What a letter is put together in, before it is copied into one piece. */
struct draft {
    struct record record;
    struct record_header *headers;
    char numbers[5][24];
    size_t numbers_n;
};

static void add_text(struct draft *draft, const char *name, const char *text)
{
    if (text)
        draft->headers[draft->record.headers_n++] =
            (struct record_header){ name, text, strlen(text) };
}

static void add_number(struct draft *draft, const char *name, int64_t number)
{
    char *text = draft->numbers[draft->numbers_n++];

    (void)snprintf(text, sizeof draft->numbers[0], "%" PRId64, number);
    add_text(draft, name, text);
}

static void add_headers(struct draft *draft, const struct dead_letter *letter, bool without_value)
{
    const struct record *from = letter->record;

    for (size_t i = 0; i < from->headers_n; i++)
        if (!is_ours(from->headers[i].name))
            draft->headers[draft->record.headers_n++] = from->headers[i];

    add_text(draft, H_TOPIC, from->topic);
    add_number(draft, H_PARTITION, from->partition);
    add_number(draft, H_OFFSET, from->offset);
    add_text(draft, H_CLASS, letter->reason);
    add_text(draft, H_MESSAGE, letter->message);
    add_text(draft, H_REASON, letter->reason);
    add_text(draft, H_EXPORTS, letter->exports);
    if (letter->run_id)
        add_number(draft, H_RUN_ID, letter->run_id);
    add_number(draft, H_ATTEMPTS, event_attempts(from) + 1);
    if (without_value)
        add_number(draft, H_VALUE_BYTES, (int64_t)from->value_bytes);
}

struct record *dead_letter_build(const struct dead_letter *letter, bool without_value)
{
    const struct record *from = letter->record;
    struct draft draft = { .record = *from };

    draft.headers = calloc(from->headers_n + DEAD_LETTER_HEADERS, sizeof *draft.headers);
    if (!draft.headers)
        return NULL;
    draft.record.headers = draft.headers;
    draft.record.headers_n = 0;
    add_headers(&draft, letter, without_value);
    if (without_value) {
        draft.record.value = NULL;
        draft.record.value_bytes = 0;
    }
    struct record *copy = record_copy(&draft.record);
    free(draft.headers);
    return copy;
}

static struct dead_letter_text text_of(const struct record *letter, const char *name)
{
    const struct record_header *header = record_header_find(letter, name);

    return header ? (struct dead_letter_text){ header->value, header->value_bytes }
                  : (struct dead_letter_text){ NULL, 0 };
}

static int64_t number_of(const struct record *letter, const char *name, int64_t max,
                         int64_t fallback)
{
    struct dead_letter_text text = text_of(letter, name);
    char digits[24];
    int64_t number;

    if (!text.bytes || text.n >= sizeof digits)
        return fallback;
    memcpy(digits, text.bytes, text.n);
    digits[text.n] = '\0';
    return parse_int64(digits, 0, max, &number) ? number : fallback;
}

void dead_letter_read(const struct record *letter, struct dead_letter_view *view)
{
    *view = (struct dead_letter_view){
        .topic = text_of(letter, H_TOPIC),
        .reason = text_of(letter, H_REASON),
        .message = text_of(letter, H_MESSAGE),
        .exports = text_of(letter, H_EXPORTS),
        .partition = (int32_t)number_of(letter, H_PARTITION, INT32_MAX, -1),
        .offset = number_of(letter, H_OFFSET, INT64_MAX, -1),
        .run_id = number_of(letter, H_RUN_ID, INT64_MAX, 0),
        .attempts = event_attempts(letter),
        .value_missing = record_header_find(letter, H_VALUE_BYTES) != NULL,
    };
}

/* The object that holds the event's members: the value, or the data of a structured one. */
static json_t *data_of(json_t *document, const struct record *record)
{
    const struct record_header *type = record_header_find_any_case(record, "content-type");
    static const char structured[] = "application/cloudevents+json";

    if (type && type->value_bytes >= sizeof structured - 1 &&
        strncasecmp(type->value, structured, sizeof structured - 1) == 0)
        return json_object_get(document, "data");
    return document;
}

/* The value with export_id set; the caller frees it. NULL: err says why. */
static char *restrict_value(const struct record *letter, struct dead_letter_text export,
                            struct error *err)
{
    json_t *document = json_loadb(letter->value, letter->value_bytes, JSON_ALLOW_NUL, NULL);
    json_t *data = data_of(document, letter);
    char *value = NULL;

    if (!json_is_object(data))
        error_set(err, ERROR_INPUT, "the letter's value is no event any more");
    else if (json_object_set_new(data, "export_id", json_stringn(export.bytes, export.n)) != 0 ||
             !(value = json_dumps(document, JSON_COMPACT)))
        error_no_memory(err);
    json_decref(document);
    return value;
}

struct record *dead_letter_revive(const struct record *letter, struct error *err)
{
    struct dead_letter_view view;
    struct record revived = *letter;
    char *value = NULL;

    dead_letter_read(letter, &view);
    if (view.value_missing || !letter->value) {
        error_set(
            err, ERROR_INPUT,
            "the letter was too large for the broker and has no value: publish its event anew");
        return NULL;
    }
    if (view.exports.n > 0 && !memchr(view.exports.bytes, ',', view.exports.n)) {
        value = restrict_value(letter, view.exports, err);
        if (!value)
            return NULL;
        revived.value = value;
        revived.value_bytes = strlen(value);
    }
    struct record *copy = record_copy(&revived);
    free(value);
    if (!copy)
        error_no_memory(err);
    return copy;
}
