#include "worker/ingest/dead_letter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/parse.h"
#include "common/strbuf.h"
#include "common/visible_text.h"
#include "worker/ingest/event.h"
#include "worker/ingest/export_names.h"
#include "worker/ingest/json_text.h"

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
#define H_HEADER_BYTES "x-klaviyo-worker-header-bytes"

static const char *const ours[DEAD_LETTER_HEADERS] = {
    H_TOPIC,   H_PARTITION, H_OFFSET,   H_CLASS,       H_MESSAGE,      H_REASON,
    H_EXPORTS, H_RUN_ID,    H_ATTEMPTS, H_VALUE_BYTES, H_HEADER_BYTES,
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
    char numbers[6][24];
    size_t numbers_n;
    struct strbuf message, exports; /* as they are shown */
};

static void draft_release(struct draft *draft)
{
    free(draft->headers);
    strbuf_release(&draft->message);
    strbuf_release(&draft->exports);
}

static void add_text(struct draft *draft, const char *name, const char *text)
{
    if (text)
        draft->headers[draft->record.headers_n++] =
            (struct record_header){ name, text, strlen(text) };
}

/* The same, without control characters, as it may quote foreign text. */
static void add_shown(struct draft *draft, const char *name, const char *text, struct strbuf *shown)
{
    enum { GROWTH = 6 }; /* one byte as \uXXXX */

    if (!text)
        return;
    *shown = STRBUF_INIT(strlen(text) * GROWTH + 1);
    (void)visible_text_add(shown, VISIBLE_LINE, text, strlen(text), strlen(text) * GROWTH);
    add_text(draft, name, shown->data ? shown->data : "");
}

static void add_number(struct draft *draft, const char *name, int64_t number)
{
    char *text = draft->numbers[draft->numbers_n++];

    (void)snprintf(text, sizeof draft->numbers[0], "%" PRId64, number);
    add_text(draft, name, text);
}

/* The event's own headers; returns the bytes of their names and values. */
static size_t add_own_headers(struct draft *draft, const struct record *from, bool keep)
{
    size_t bytes = 0;

    for (size_t i = 0; i < from->headers_n; i++) {
        const struct record_header *header = &from->headers[i];
        if (is_ours(header->name))
            continue;
        bytes += strlen(header->name) + header->value_bytes;
        if (keep)
            draft->headers[draft->record.headers_n++] = *header;
    }
    return bytes;
}

static void add_headers(struct draft *draft, const struct dead_letter *letter,
                        enum dead_letter_form form)
{
    const struct record *from = letter->record;
    size_t own_bytes = add_own_headers(draft, from, form != DEAD_LETTER_WITHOUT_HEADERS);

    add_text(draft, H_TOPIC, from->topic);
    add_number(draft, H_PARTITION, from->partition);
    add_number(draft, H_OFFSET, from->offset);
    add_text(draft, H_CLASS, letter->reason);
    add_shown(draft, H_MESSAGE, letter->message, &draft->message);
    add_text(draft, H_REASON, letter->reason);
    add_shown(draft, H_EXPORTS, letter->exports, &draft->exports);
    if (letter->run_id)
        add_number(draft, H_RUN_ID, letter->run_id);
    add_number(draft, H_ATTEMPTS, event_attempts(from) + 1);
    if (form != DEAD_LETTER_WHOLE)
        add_number(draft, H_VALUE_BYTES, (int64_t)from->value_bytes);
    if (form == DEAD_LETTER_WITHOUT_HEADERS)
        add_number(draft, H_HEADER_BYTES, (int64_t)own_bytes);
}

struct record *dead_letter_build(const struct dead_letter *letter, enum dead_letter_form form)
{
    const struct record *from = letter->record;
    CLEANUP(draft_release) struct draft draft = { .record = *from };

    draft.headers = calloc(from->headers_n + DEAD_LETTER_HEADERS, sizeof *draft.headers);
    if (!draft.headers)
        return NULL;
    draft.record.headers = draft.headers;
    draft.record.headers_n = 0;
    add_headers(&draft, letter, form);
    if (form != DEAD_LETTER_WHOLE) {
        draft.record.value = NULL;
        draft.record.value_bytes = 0;
    }
    if (form == DEAD_LETTER_WITHOUT_HEADERS) {
        draft.record.key = NULL;
        draft.record.key_bytes = 0;
    }
    if (!strbuf_ok(&draft.message) || !strbuf_ok(&draft.exports))
        return NULL;
    return record_copy(&draft.record);
}

static struct bytes text_of(const struct record *letter, const char *name)
{
    const struct record_header *header = record_header_find(letter, name);

    return header ? (struct bytes){ header->value, header->value_bytes } : BYTES_NONE;
}

static int64_t number_of(const struct record *letter, const char *name, int64_t max,
                         int64_t fallback)
{
    struct bytes text = text_of(letter, name);
    char digits[24];
    int64_t number;

    if (!text.at || text.n >= sizeof digits)
        return fallback;
    memcpy(digits, text.at, text.n);
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

enum { EXPORT_NAME_MAX_BYTES = 16 * 1024 };

/* "name" as a JSON string. */
static bool quote(struct strbuf *out, const char *name)
{
    strbuf_add_str(out, "\"");
    (void)visible_text_add(out, VISIBLE_JSON, name, strlen(name), EXPORT_NAME_MAX_BYTES);
    strbuf_add_str(out, "\"");
    return strbuf_ok(out);
}

/* The object that holds the event's members; it need not be one. */
static struct bytes data_of(const struct record *letter)
{
    struct bytes text = { letter->value, letter->value_bytes };
    size_t where;

    if (!json_text_check(text, &where))
        return BYTES_NONE;
    struct bytes document = json_text_trim(text);
    return event_is_structured(letter) ? json_text_member(document, "data") : document;
}

/* The value with export_id set, not a byte of it changed elsewhere; the caller frees it. */
static char *restrict_value(const struct record *letter, const char *export, size_t *n,
                            struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf name = STRBUF_INIT(EXPORT_NAME_MAX_BYTES);
    struct bytes data = data_of(letter);
    char *value = NULL;

    if (data.n == 0 || data.at[0] != '{')
        error_set(err, ERROR_INPUT, "the letter's value is no event any more");
    else if (!quote(&name, export) ||
             !(value =
                   json_text_set_member((struct bytes){ letter->value, letter->value_bytes }, data,
                                        "export_id", (struct bytes){ name.data, name.len }, n)))
        error_no_memory(err);
    return value;
}

/* *value stays NULL where the event concerns every export of its segment. */
static bool restrict_event(const struct record *letter, char **value, size_t *n, struct error *err)
{
    CLEANUP(export_names_release) struct export_names exports = EXPORT_NAMES_INIT;
    struct bytes names = text_of(letter, H_EXPORTS);

    if (!names.at)
        return true;
    if (!export_names_parse(names, &exports, err))
        return false;
    if (exports.n != 1)
        return true;
    *value = restrict_value(letter, exports.items[0], n, err);
    return *value != NULL;
}

struct record *dead_letter_revive(const struct record *letter, struct error *err)
{
    struct record revived = *letter;
    char *value = NULL;
    size_t n = 0;

    revived.timestamp_ms = -1; /* now: by the letter's it may be due for deletion */

    if (record_header_find(letter, H_VALUE_BYTES) || !letter->value) {
        error_set(
            err, ERROR_INPUT,
            "the letter was too large for the broker and has no value: publish the event again");
        return NULL;
    }
    if (!restrict_event(letter, &value, &n, err))
        return NULL;
    if (value) {
        revived.value = value;
        revived.value_bytes = n;
    }
    struct record *copy = record_copy(&revived);
    free(value);
    if (!copy)
        error_no_memory(err);
    return copy;
}
