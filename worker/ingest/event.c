#include "worker/ingest/event.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/parse.h"

enum { ATTEMPTS_MAX = 1000000 };

/* What PostgreSQL and RFC 3339 can both write, in UTC. */
#define YEAR_1_US (-62135596800000000)
#define YEAR_10000_US 253402300800000000

static const char event_type[] = "segment.refreshed.v1";

/* What the parsing of one event carries along. Each step answers VALID or why not. */
struct parse {
    const struct record *record;
    json_t *document; /* the value */
    json_t *data;     /* the event in it; lent by document */
    struct event event;
    struct error *err;
};

static enum event_verdict invalid(struct parse *p, const char *what, const char *why)
{
    error_set(p->err, ERROR_INPUT, "%s %s", what, why);
    return EVENT_INVALID;
}

/* Bytes of the UTF-8 sequence (RFC 3629) that begins there; 0: it is none, or a NUL. */
static size_t sequence_bytes(const unsigned char *at, size_t n)
{
    unsigned char first = at[0];
    size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;

    if (first == 0 || (first >= 0x80 && first < 0xC2) || first > 0xF4 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    if ((first == 0xE0 && at[1] < 0xA0) || (first == 0xF0 && at[1] < 0x90))
        return 0; /* longer than needed */
    if ((first == 0xED && at[1] > 0x9F) || (first == 0xF4 && at[1] > 0x8F))
        return 0; /* a surrogate; above U+10FFFF */
    return length;
}

/* The length in characters, or -1 where the bytes are not UTF-8 or hold a NUL. */
static long count_characters(const char *bytes, size_t n)
{
    long count = 0;

    for (size_t at = 0; at < n; count++) {
        size_t length = sequence_bytes((const unsigned char *)bytes + at, n - at);
        if (length == 0)
            return -1;
        at += length;
    }
    return count;
}

static enum event_verdict keep(struct parse *p, const char *bytes, size_t n, char **out)
{
    char *copy = malloc(n + 1); /* strndup() would look for an end beyond the record */

    if (!copy) {
        error_no_memory(p->err);
        return EVENT_NO_MEMORY;
    }
    memcpy(copy, bytes, n);
    copy[n] = '\0';
    *out = copy;
    return EVENT_VALID;
}

/* A member of the data: a name of 1 to 200 characters. Absent and optional leaves *out as it is. */
static enum event_verdict take_name(struct parse *p, const char *member, bool required, char **out)
{
    json_t *value = json_object_get(p->data, member);

    if (!value)
        return required ? invalid(p, member, "is missing") : EVENT_VALID;
    if (!json_is_string(value))
        return invalid(p, member, "is not a string");

    const char *bytes = json_string_value(value);
    size_t n = json_string_length(value);
    long characters = count_characters(bytes, n);
    if (characters < 0)
        return invalid(p, member, "holds a NUL character");
    if (characters < 1 || characters > EVENT_NAME_MAX_CHARACTERS)
        return invalid(p, member, "is not 1 to 200 characters long");
    return keep(p, bytes, n, out);
}

static enum event_verdict take_time(struct parse *p, const char *member, int64_t *out_us)
{
    json_t *value = json_object_get(p->data, member);

    if (!value)
        return invalid(p, member, "is missing");
    if (!json_is_string(value))
        return invalid(p, member, "is not a string");
    int64_t us;
    if (!parse_rfc3339(json_string_value(value), json_string_length(value), &us))
        return invalid(p, member, "is not an RFC 3339 date-time");
    if (us < YEAR_1_US || us >= YEAR_10000_US)
        return invalid(p, member, "is not in the years 1 to 9999");
    *out_us = us;
    return EVENT_VALID;
}

static enum event_verdict take_flag(struct parse *p, const char *member, bool *out)
{
    json_t *value = json_object_get(p->data, member);

    if (value && !json_is_boolean(value))
        return invalid(p, member, "is neither true nor false");
    *out = json_is_true(value);
    return EVENT_VALID;
}

static enum event_verdict take_trigger(struct parse *p)
{
    json_t *value = json_object_get(p->data, "trigger");
    const char *text = json_string_value(value);

    if (value && !text)
        return invalid(p, "trigger", "is not a string");
    if (text && strcmp(text, "on-demand") == 0)
        p->event.trigger = EVENT_TRIGGER_ON_DEMAND;
    else if (text && strcmp(text, "schedule") != 0)
        return invalid(p, "trigger", "is neither schedule nor on-demand");
    return EVENT_VALID;
}

static enum event_verdict take_data(struct parse *p)
{
    struct event *event = &p->event;
    enum event_verdict verdict;

    if (!json_is_object(p->data))
        return invalid(p, p->data == p->document ? "the value" : "data", "is not a JSON object");
    if ((verdict = take_name(p, "segment_id", true, &event->segment_id)) != EVENT_VALID ||
        (verdict = take_name(p, "refresh_id", true, &event->refresh_id)) != EVENT_VALID ||
        (verdict = take_time(p, "refreshed_at", &event->refreshed_at_us)) != EVENT_VALID ||
        (verdict = take_trigger(p)) != EVENT_VALID ||
        (verdict = take_name(p, "export_id", false, &event->export_id)) != EVENT_VALID ||
        (verdict = take_flag(p, "full", &event->full)) != EVENT_VALID)
        return verdict;
    return take_flag(p, "confirm_removals", &event->confirm_removals);
}

/* An attribute of the CloudEvents envelope, from a header or a member; bytes NULL: absent. */
struct attribute {
    const char *bytes;
    size_t n;
};

static struct attribute header_attribute(const struct parse *p, const char *name)
{
    const struct record_header *header = record_header_find_any_case(p->record, name);

    return header ? (struct attribute){ header->value, header->value_bytes }
                  : (struct attribute){ NULL, 0 };
}

static struct attribute member_attribute(const struct parse *p, const char *name)
{
    json_t *value = json_object_get(p->document, name);

    return (struct attribute){ json_string_value(value), json_string_length(value) };
}

static bool attribute_is(struct attribute attribute, const char *text)
{
    return attribute.n == strlen(text) && memcmp(attribute.bytes, text, attribute.n) == 0;
}

static enum event_verdict check_attribute(struct parse *p, const char *name,
                                          struct attribute attribute)
{
    if (!attribute.bytes || attribute.n == 0)
        return invalid(p, name, "is missing, empty or not a string");
    if (attribute.n > EVENT_ATTRIBUTE_MAX_BYTES)
        return invalid(p, name, "is longer than 1024 bytes");
    if (count_characters(attribute.bytes, attribute.n) < 0)
        return invalid(p, name, "is not UTF-8 text");
    return EVENT_VALID;
}

/* Minor versions of CloudEvents 1 only add. */
static bool is_known_specversion(struct attribute version)
{
    return version.n >= 3 && memcmp(version.bytes, "1.", 2) == 0;
}

/* The envelope: where its attributes are, and how errors name them. */
struct envelope {
    struct attribute (*get)(const struct parse *p, const char *name);
    const char *specversion, *type, *source, *id;
};

static const struct envelope in_headers = { header_attribute, "ce_specversion", "ce_type",
                                            "ce_source", "ce_id" };
static const struct envelope in_value = { member_attribute, "specversion", "type", "source", "id" };

static enum event_verdict take_envelope(struct parse *p, const struct envelope *envelope)
{
    struct attribute version = envelope->get(p, envelope->specversion);
    struct attribute type = envelope->get(p, envelope->type);
    struct attribute source = envelope->get(p, envelope->source);
    struct attribute id = envelope->get(p, envelope->id);
    enum event_verdict verdict;

    if ((verdict = check_attribute(p, envelope->specversion, version)) != EVENT_VALID ||
        (verdict = check_attribute(p, envelope->type, type)) != EVENT_VALID ||
        (verdict = check_attribute(p, envelope->source, source)) != EVENT_VALID ||
        (verdict = check_attribute(p, envelope->id, id)) != EVENT_VALID)
        return verdict;
    if (!is_known_specversion(version))
        return invalid(p, envelope->specversion, "is a version of CloudEvents other than 1");
    if (!attribute_is(type, event_type))
        return invalid(p, envelope->type, "is not segment.refreshed.v1, the only type known");

    verdict = keep(p, source.bytes, source.n, &p->event.source);
    return verdict == EVENT_VALID ? keep(p, id.bytes, id.n, &p->event.id) : verdict;
}

/* The media type of the content-type header, without parameters: "type/subtype". */
static struct attribute media_type(const struct parse *p)
{
    struct attribute type = header_attribute(p, "content-type");

    while (type.n > 0 && strchr(" \t", *type.bytes)) {
        type.bytes++;
        type.n--;
    }
    for (size_t i = 0; i < type.n; i++)
        if (strchr("; \t", type.bytes[i])) {
            type.n = i;
            break;
        }
    return type;
}

static bool media_type_is(struct attribute type, const char *name)
{
    return type.n == strlen(name) && strncasecmp(type.bytes, name, type.n) == 0;
}

static bool has_envelope_header(const struct parse *p)
{
    return record_header_find_any_case(p->record, in_headers.specversion) ||
           record_header_find_any_case(p->record, in_headers.type) ||
           record_header_find_any_case(p->record, in_headers.source) ||
           record_header_find_any_case(p->record, in_headers.id);
}

static bool is_hex(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr("0123456789abcdef", text[i]) || !text[i])
            return false;
    return true;
}

/* W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>; later versions may append. */
static bool is_traceparent(struct attribute text)
{
    return text.n >= 55 && text.n <= 128 && is_hex(text.bytes, 2) && text.bytes[2] == '-' &&
           is_hex(text.bytes + 3, 32) && text.bytes[35] == '-' && is_hex(text.bytes + 36, 16) &&
           text.bytes[52] == '-' && is_hex(text.bytes + 53, 2) &&
           (text.n == 55 || text.bytes[55] == '-') && count_characters(text.bytes, text.n) >= 0;
}

/* As a header of Kafka's own, or as the CloudEvents extension. What is none is left out. */
static enum event_verdict take_traceparent(struct parse *p, bool structured)
{
    const struct attribute places[] = {
        header_attribute(p, "traceparent"),
        header_attribute(p, "ce_traceparent"),
        structured ? member_attribute(p, "traceparent") : (struct attribute){ NULL, 0 },
    };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (places[i].bytes && is_traceparent(places[i]))
            return keep(p, places[i].bytes, places[i].n, &p->event.traceparent);
    return EVENT_VALID;
}

static enum event_verdict load_value(struct parse *p)
{
    /* Numbers are none of ours: as reals, so that a long integer is no error. */
    const size_t flags = JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL;
    json_error_t why;

    if (p->record->value_bytes > EVENT_VALUE_MAX_BYTES)
        return invalid(p, "the value", "is longer than 65536 bytes");
    p->document = json_loadb(p->record->value, p->record->value_bytes, flags, &why);
    if (p->document)
        return EVENT_VALID;
    if (json_error_code(&why) == json_error_out_of_memory) {
        error_no_memory(p->err);
        return EVENT_NO_MEMORY;
    }
    error_set(p->err, ERROR_INPUT, "the value is not JSON (line %d, column %d)", why.line,
              why.column);
    return EVENT_INVALID;
}

static enum event_verdict parse_structured(struct parse *p)
{
    enum event_verdict verdict;

    if (!json_is_object(p->document))
        return invalid(p, "the value", "is not a JSON object");
    if ((verdict = take_envelope(p, &in_value)) != EVENT_VALID)
        return verdict;
    p->data = json_object_get(p->document, "data");
    return p->data ? take_data(p) : invalid(p, "data", "is missing");
}

static enum event_verdict parse_value(struct parse *p)
{
    struct attribute type = media_type(p);
    bool structured = media_type_is(type, "application/cloudevents+json");
    enum event_verdict verdict;

    if (media_type_is(type, "application/cloudevents-batch+json"))
        return invalid(p, "content-type", "is a batch of events: send one event a record");
    if ((verdict = load_value(p)) != EVENT_VALID)
        return verdict;
    if (structured)
        verdict = parse_structured(p);
    else {
        p->data = p->document;
        if (has_envelope_header(p))
            verdict = take_envelope(p, &in_headers);
        if (verdict == EVENT_VALID)
            verdict = take_data(p);
    }
    return verdict == EVENT_VALID ? take_traceparent(p, structured) : verdict;
}

enum event_verdict event_parse(const struct record *record, struct event *event, struct error *err)
{
    struct parse p = { .record = record, .err = err };

    if (!record->value)
        return EVENT_TOMBSTONE;

    enum event_verdict verdict = parse_value(&p);
    json_decref(p.document);
    if (verdict == EVENT_VALID)
        *event = p.event;
    else
        event_release(&p.event);
    return verdict;
}

void event_release(struct event *event)
{
    free(event->source);
    free(event->id);
    free(event->segment_id);
    free(event->refresh_id);
    free(event->export_id);
    free(event->traceparent);
    *event = EVENT_INIT;
}

int event_attempts(const struct record *record)
{
    const struct record_header *header = record_header_find(record, "x-klaviyo-worker-attempts");
    char text[sizeof "1000000"];
    int64_t attempts;

    if (!header || !header->value || header->value_bytes >= sizeof text)
        return 0;
    memcpy(text, header->value, header->value_bytes);
    text[header->value_bytes] = '\0';
    return parse_int64(text, 0, ATTEMPTS_MAX, &attempts) ? (int)attempts : 0;
}
