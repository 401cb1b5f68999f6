/* A record from a publisher: lines "name: value" are headers, an empty line, then the value. */
#include <assert.h>

#include "common/utf8.h"
#include "tests/fuzz/fuzz_record.h"
#include "worker/ingest/event.h"
#include "worker/ingest/traceparent.h"

static void must_be_storable(const char *text, long characters_max, size_t bytes_max)
{
    if (!text)
        return;
    assert(utf8_count(text, strlen(text)) >= 1);
    assert(utf8_count(text, strlen(text)) <= characters_max);
    assert(strlen(text) <= bytes_max);
}

/* It goes into a header next to the API key's. */
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
    CLEANUP(fuzz_record_release) struct fuzz_record given = { .record.headers_n = 0 };
    struct event event = EVENT_INIT;
    struct error err = ERROR_INIT;

    fuzz_record_read(&given, data, size);
    enum event_verdict verdict = event_parse(&given.record, &event, &err);
    if (verdict == EVENT_VALID)
        must_keep_its_promises(&event);
    if (verdict == EVENT_INVALID)
        assert(err.text[0] != '\0');
    event_release(&event);
    assert(event_attempts(&given.record) >= 0);
    (void)event_is_structured(&given.record);
    return 0;
}
