/* A record from a publisher: lines "name: value" are headers, an empty line, then the value. */
#include <assert.h>

#include "common/utf8.h"
#include "tests/fuzz/fuzz_input.h"
#include "worker/ingest/event.h"
#include "worker/ingest/traceparent.h"

enum { HEADERS_MAX = 8 };

/* *name is the caller's. */
static void read_header(struct bytes line, struct record_header *header, char **name)
{
    const char *colon = fuzz_find(line, ':');
    size_t name_bytes = colon ? (size_t)(colon - line.at) : line.n;

    *name = fuzz_text((struct bytes){ line.at, name_bytes });
    header->name = *name;
    header->value = colon ? colon + 1 : NULL;
    header->value_bytes = colon ? line.n - name_bytes - 1 : 0;
}

static size_t read_headers(struct fuzz_input *input, struct record_header *headers, char **names)
{
    size_t n = 0;

    while (n < HEADERS_MAX) {
        struct bytes line = fuzz_line(input);

        if (line.n == 0)
            break;
        read_header(line, &headers[n], &names[n]);
        n++;
    }
    return n;
}

static void must_be_storable(const char *text, long characters_max, size_t bytes_max)
{
    if (!text)
        return;
    assert(utf8_count(text, strlen(text)) >= 1);
    assert(utf8_count(text, strlen(text)) <= characters_max);
    assert(strlen(text) <= bytes_max);
}

/* It goes into a header beside the API key. */
static void must_be_a_traceparent(const char *text)
{
    size_t n = strlen(text);

    assert(n == 0 || n == TRACEPARENT_CHARACTERS);
    for (size_t i = 0; i < n; i++)
        assert(text[i] > ' ' && text[i] <= '~');
}

static void must_keep_its_promises(const struct event *event)
{
    assert(event->segment_id && event->refresh_id);
    assert((event->source != NULL) == (event->id != NULL));
    must_be_storable(event->segment_id, EVENT_NAME_MAX_CHARACTERS,
                     (size_t)4 * EVENT_NAME_MAX_CHARACTERS);
    must_be_storable(event->refresh_id, EVENT_NAME_MAX_CHARACTERS,
                     (size_t)4 * EVENT_NAME_MAX_CHARACTERS);
    must_be_storable(event->export_id, EVENT_NAME_MAX_CHARACTERS,
                     (size_t)4 * EVENT_NAME_MAX_CHARACTERS);
    must_be_storable(event->source, EVENT_ATTRIBUTE_MAX_BYTES, EVENT_ATTRIBUTE_MAX_BYTES);
    must_be_storable(event->id, EVENT_ATTRIBUTE_MAX_BYTES, EVENT_ATTRIBUTE_MAX_BYTES);
    must_be_a_traceparent(event->traceparent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { (const char *)data, size };
    struct record_header headers[HEADERS_MAX];
    char *names[HEADERS_MAX];
    size_t n = read_headers(&input, headers, names);
    struct record record = { .topic = "segment-refresh",
                             .value = input.at,
                             .value_bytes = input.n,
                             .headers = headers,
                             .headers_n = n };
    struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;
    enum event_verdict verdict = event_parse(&record, &event, &err);

    if (verdict == EVENT_VALID)
        must_keep_its_promises(&event);
    if (verdict == EVENT_INVALID)
        assert(err.text[0] != '\0');
    event_release(&event);
    assert(event_attempts(&record) >= 0);
    (void)event_is_structured(&record);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    return 0;
}
