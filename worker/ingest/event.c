#include "worker/ingest/event.h"

#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "common/parse.h"
#include "common/utf8.h"
#include "worker/ingest/json_text.h"
#include "worker/ingest/media_type.h"
#include "worker/ingest/traceparent.h"
#include "worker/store/guard.h"

enum { ATTEMPTS_MAX = 1000000 };

/* What PostgreSQL and RFC 3339 can both write, in UTC. */
#define YEAR_1_US (-62135596800000000)
#define YEAR_10000_US 253402300800000000

static const char event_type[] = "segment.refreshed.v1";

/* What the parsing of one event carries along. Each step answers VALID or why not. */
struct parse {
    const struct record *record;
    struct bytes document; /* the value, JSON; lent by the record */
    struct bytes data;     /* the event in it */
    struct event event;
    struct error *err;
};

static enum event_verdict invalid(struct parse *p, const char *what, const char *why)
{
    error_set(p->err, ERROR_INPUT, "%s %s", what, why);
    return EVENT_INVALID;
}

static enum event_verdict keep(struct parse *p, struct bytes bytes, char **out)
{
    char *copy = malloc(bytes.n + 1); /* strndup() would look for an end beyond the record */

    if (!copy) {
        error_no_memory(p->err);
        return EVENT_NO_MEMORY;
    }
    memcpy(copy, bytes.at, bytes.n);
    copy[bytes.n] = '\0';
    *out = copy;
    return EVENT_VALID;
}

/* ---- members of the data ---- */

/* The member's value; null counts as absent. */
static struct bytes present(struct bytes object, const char *member)
{
    struct bytes value = json_text_member(object, member);

    return bytes_are(value, "null") ? BYTES_NONE : value;
}

/* A string, decoded. */
struct text {
    struct json_text_characters in; /* its own */
};

static void text_release(struct text *text)
{
    free(text->in.at);
}

static struct bytes bytes_of(const struct text *text)
{
    return (struct bytes){ text->in.at, text->in.n };
}

static enum event_verdict no_memory(struct parse *p)
{
    error_no_memory(p->err);
    return EVENT_NO_MEMORY;
}

static enum event_verdict take_string(struct parse *p, const char *member, struct bytes value,
                                      struct text *text)
{
    switch (json_text_string(value, &text->in)) {
    case JSON_TEXT_STRING:
        return EVENT_VALID;
    case JSON_TEXT_NO_STRING:
        return invalid(p, member, "is not a string");
    case JSON_TEXT_NO_MEMORY:
        break;
    }
    return no_memory(p);
}

static enum event_verdict check_name(struct parse *p, const char *member, struct bytes name)
{
    if (memchr(name.at, '\0', name.n))
        return invalid(p, member, "holds a NUL character");
    long characters = utf8_count(name.at, name.n);
    if (characters < 1 || characters > EVENT_NAME_MAX_CHARACTERS)
        return invalid(p, member, "is not 1 to 200 characters long");
    return EVENT_VALID;
}

/* A name of 1 to 200 characters. Absent and optional leaves *out as it is. */
static enum event_verdict take_name(struct parse *p, const char *member, bool required, char **out)
{
    struct bytes value = present(p->data, member);

    if (!value.at)
        return required ? invalid(p, member, "is missing") : EVENT_VALID;

    CLEANUP(text_release) struct text text = { 0 };
    enum event_verdict verdict = take_string(p, member, value, &text);
    if (verdict == EVENT_VALID)
        verdict = check_name(p, member, bytes_of(&text));
    return verdict == EVENT_VALID ? keep(p, bytes_of(&text), out) : verdict;
}

static enum event_verdict take_time(struct parse *p, const char *member, int64_t *out_us)
{
    struct bytes value = present(p->data, member);

    if (!value.at)
        return invalid(p, member, "is missing");
    CLEANUP(text_release) struct text text = { 0 };
    enum event_verdict verdict = take_string(p, member, value, &text);
    int64_t us;
    if (verdict != EVENT_VALID)
        return verdict;
    if (!parse_rfc3339(text.in.at, text.in.n, &us))
        return invalid(p, member, "is not an RFC 3339 date-time");
    if (us < YEAR_1_US || us >= YEAR_10000_US)
        return invalid(p, member, "is not in the years 1 to 9999");
    *out_us = us;
    return EVENT_VALID;
}

static enum event_verdict take_flag(struct parse *p, const char *member, bool *out)
{
    struct bytes value = present(p->data, member);

    if (value.at && !bytes_are(value, "true") && !bytes_are(value, "false"))
        return invalid(p, member, "is neither true nor false");
    *out = bytes_are(value, "true");
    return EVENT_VALID;
}

static enum event_verdict take_trigger(struct parse *p)
{
    struct bytes value = present(p->data, "trigger");

    if (!value.at)
        return EVENT_VALID;
    CLEANUP(text_release) struct text text = { 0 };
    enum event_verdict verdict = take_string(p, "trigger", value, &text);
    if (verdict != EVENT_VALID)
        return verdict;
    if (bytes_are(bytes_of(&text), "on-demand"))
        p->event.trigger = EVENT_TRIGGER_ON_DEMAND;
    else if (!bytes_are(bytes_of(&text), "schedule"))
        return invalid(p, "trigger", "is neither schedule nor on-demand");
    return EVENT_VALID;
}

/* The guards that an event confirms, while its array is read. */
struct confirmation {
    struct parse *p;
    enum event_verdict verdict; /* why reading stopped */
};

/* An unknown name is a typing error: the confirmation would never count. */
static bool take_guard(void *opaque, struct bytes value)
{
    struct confirmation *confirmation = opaque;
    struct parse *p = confirmation->p;
    CLEANUP(text_release) struct text text = { 0 };
    enum guard guard;

    confirmation->verdict = take_string(p, "confirm", value, &text);
    if (confirmation->verdict == EVENT_INVALID)
        confirmation->verdict = invalid(p, "confirm", "holds something that is not a string");
    if (confirmation->verdict != EVENT_VALID)
        return false;
    struct bytes name = bytes_of(&text);
    if (!guard_find(name.at, name.n, &guard)) {
        confirmation->verdict = invalid(p, "confirm", "names no guard that there is");
        return false;
    }
    p->event.confirmed |= GUARD_BIT(guard);
    return true;
}

static enum event_verdict take_confirm(struct parse *p)
{
    struct confirmation confirmation = { p, EVENT_INVALID };
    struct bytes value = present(p->data, "confirm");

    if (!value.at)
        return EVENT_VALID;
    if (value.at[0] != '[')
        return invalid(p, "confirm", "is not an array");
    return json_text_each(value, take_guard, &confirmation) ? EVENT_VALID : confirmation.verdict;
}

static enum event_verdict take_data(struct parse *p)
{
    struct event *event = &p->event;
    enum event_verdict verdict;

    if (p->data.at[0] != '{')
        return invalid(p, p->data.at == p->document.at ? "the value" : "data",
                       "is not a JSON object");
    if ((verdict = take_name(p, "segment_id", true, &event->segment_id)) != EVENT_VALID ||
        (verdict = take_name(p, "refresh_id", true, &event->refresh_id)) != EVENT_VALID ||
        (verdict = take_time(p, "refreshed_at", &event->refreshed_at_us)) != EVENT_VALID ||
        (verdict = take_trigger(p)) != EVENT_VALID ||
        (verdict = take_name(p, "export_id", false, &event->export_id)) != EVENT_VALID ||
        (verdict = take_flag(p, "full", &event->full)) != EVENT_VALID ||
        (verdict = take_confirm(p)) != EVENT_VALID)
        return verdict;
    return take_flag(p, "confirm_removals", &event->confirm_removals);
}

/* ---- the CloudEvents envelope ---- */

/* An attribute, from a header or a member. */
struct attribute {
    struct bytes text;   /* BYTES_NONE: absent, or no string */
    struct text decoded; /* what a member's text lies in */
};

static void attribute_release(struct attribute *attribute)
{
    text_release(&attribute->decoded);
}

static struct bytes header_text(const struct parse *p, const char *name)
{
    const struct record_header *header = record_header_find_any_case(p->record, name);

    return header ? (struct bytes){ header->value, header->value_bytes } : BYTES_NONE;
}

/* False: out of memory. */
static bool header_attribute(const struct parse *p, const char *name, struct attribute *out)
{
    out->text = header_text(p, name);
    return true;
}

static bool member_attribute(const struct parse *p, const char *name, struct attribute *out)
{
    enum json_text_string is = json_text_string(present(p->document, name), &out->decoded.in);

    out->text = bytes_of(&out->decoded);
    return is != JSON_TEXT_NO_MEMORY;
}

static enum event_verdict check_attribute(struct parse *p, const char *name, struct bytes text)
{
    if (!text.at || text.n == 0)
        return invalid(p, name, "is missing, empty or not a string");
    if (text.n > EVENT_ATTRIBUTE_MAX_BYTES)
        return invalid(p, name, "is longer than 1024 bytes");
    if (memchr(text.at, '\0', text.n) || utf8_count(text.at, text.n) < 0)
        return invalid(p, name, "is not UTF-8 text");
    return EVENT_VALID;
}

/* Minor versions of CloudEvents 1 only add. */
static bool is_known_specversion(struct bytes version)
{
    return version.n >= 3 && memcmp(version.at, "1.", 2) == 0;
}

/* The envelope: where its attributes are, and how errors name them. */
struct envelope {
    bool (*get)(const struct parse *p, const char *name, struct attribute *out);
    const char *specversion, *type, *source, *id;
};

static const struct envelope in_headers = { header_attribute, "ce_specversion", "ce_type",
                                            "ce_source", "ce_id" };
static const struct envelope in_value = { member_attribute, "specversion", "type", "source", "id" };

/* Its four attributes. */
struct attributes {
    struct attribute specversion, type, source, id;
};

static void attributes_release(struct attributes *of)
{
    attribute_release(&of->specversion);
    attribute_release(&of->type);
    attribute_release(&of->source);
    attribute_release(&of->id);
}

static enum event_verdict check_attributes(struct parse *p, const struct envelope *envelope,
                                           const struct attributes *of)
{
    enum event_verdict verdict;

    if ((verdict = check_attribute(p, envelope->specversion, of->specversion.text)) !=
            EVENT_VALID ||
        (verdict = check_attribute(p, envelope->type, of->type.text)) != EVENT_VALID ||
        (verdict = check_attribute(p, envelope->source, of->source.text)) != EVENT_VALID ||
        (verdict = check_attribute(p, envelope->id, of->id.text)) != EVENT_VALID)
        return verdict;
    if (!is_known_specversion(of->specversion.text))
        return invalid(p, envelope->specversion, "is a version of CloudEvents other than 1");
    if (!bytes_are(of->type.text, event_type))
        return invalid(p, envelope->type, "is not segment.refreshed.v1, the only type known");
    return EVENT_VALID;
}

static enum event_verdict take_envelope(struct parse *p, const struct envelope *envelope)
{
    CLEANUP(attributes_release) struct attributes of = { 0 };
    enum event_verdict verdict;

    if (!envelope->get(p, envelope->specversion, &of.specversion) ||
        !envelope->get(p, envelope->type, &of.type) ||
        !envelope->get(p, envelope->source, &of.source) || !envelope->get(p, envelope->id, &of.id))
        return no_memory(p);
    if ((verdict = check_attributes(p, envelope, &of)) != EVENT_VALID ||
        (verdict = keep(p, of.source.text, &p->event.source)) != EVENT_VALID)
        return verdict;
    return keep(p, of.id.text, &p->event.id);
}

static bool has_envelope_header(const struct parse *p)
{
    return record_header_find_any_case(p->record, in_headers.specversion) ||
           record_header_find_any_case(p->record, in_headers.type) ||
           record_header_find_any_case(p->record, in_headers.source) ||
           record_header_find_any_case(p->record, in_headers.id);
}

static bool keep_traceparent(struct event *event, struct bytes text)
{
    return text.at && traceparent_parse(text.at, text.n, event->traceparent);
}

/* As a header of Kafka's own, or as the CloudEvents extension. An invalid one is left out. */
static void take_traceparent(struct parse *p, bool structured)
{
    struct event *event = &p->event;

    if (keep_traceparent(event, header_text(p, "traceparent")) ||
        keep_traceparent(event, header_text(p, "ce_traceparent")) || !structured)
        return;
    CLEANUP(attribute_release) struct attribute extension = { 0 };
    (void)member_attribute(p, "traceparent", &extension);
    (void)keep_traceparent(event, extension.text);
}

/* ---- the whole ---- */

/* "line 2, column 7" of a byte, in characters. */
static enum event_verdict not_json(struct parse *p, struct bytes text, size_t where)
{
    int line = 1, column = 1;

    for (size_t i = 0; i < where; i++) {
        bool is_end = text.at[i] == '\n';
        line += is_end;
        column = is_end ? 1 : column + ((text.at[i] & 0xC0) != 0x80);
    }
    error_set(p->err, ERROR_INPUT, "the value is not JSON (line %d, column %d)", line, column);
    return EVENT_INVALID;
}

static enum event_verdict load_value(struct parse *p)
{
    struct bytes text = { p->record->value, p->record->value_bytes };
    size_t where;

    if (text.n > EVENT_VALUE_MAX_BYTES)
        return invalid(p, "the value", "is longer than 65536 bytes");
    if (!json_text_check(text, &where))
        return not_json(p, text, where);
    p->document = json_text_trim(text);
    return EVENT_VALID;
}

static enum event_verdict parse_structured(struct parse *p)
{
    enum event_verdict verdict;

    if (p->document.at[0] != '{')
        return invalid(p, "the value", "is not a JSON object");
    if ((verdict = take_envelope(p, &in_value)) != EVENT_VALID)
        return verdict;
    p->data = present(p->document, "data");
    return p->data.at ? take_data(p) : invalid(p, "data", "is missing");
}

static enum event_verdict parse_flat(struct parse *p)
{
    enum event_verdict verdict = EVENT_VALID;

    p->data = p->document;
    if (has_envelope_header(p))
        verdict = take_envelope(p, &in_headers);
    return verdict == EVENT_VALID ? take_data(p) : verdict;
}

bool event_is_structured(const struct record *record)
{
    const struct parse p = { .record = record };

    return media_type_is(header_text(&p, "content-type"), "application/cloudevents+json");
}

static enum event_verdict parse_value(struct parse *p)
{
    bool structured = event_is_structured(p->record);
    enum event_verdict verdict;

    if (media_type_is(header_text(p, "content-type"), "application/cloudevents-batch+json"))
        return invalid(p, "content-type", "is a batch of events: send one event a record");
    if ((verdict = load_value(p)) != EVENT_VALID ||
        (verdict = structured ? parse_structured(p) : parse_flat(p)) != EVENT_VALID)
        return verdict;
    take_traceparent(p, structured);
    return EVENT_VALID;
}

enum event_verdict event_parse(const struct record *record, struct event *event, struct error *err)
{
    struct parse p = { .record = record, .err = err };

    if (!record->value)
        return EVENT_TOMBSTONE;

    enum event_verdict verdict = parse_value(&p);
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
