#include "worker/outcome/outcome_event.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/strbuf.h"

enum {
    HEADERS = 8,
    ID_BYTES = 48,
    SOURCE_MAX_BYTES = 4096, /* a name of 200 characters of 4 bytes, each byte as %XX */
};

static const char source_prefix[] = "/klaviyo-worker/exports/";

/* What RFC 3986 leaves as it is in every part of a reference. */
static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

static void add_source(struct strbuf *out, const char *export_name)
{
    strbuf_add_str(out, source_prefix);
    for (const char *c = export_name; *c; c++) {
        if (is_unreserved(*c))
            strbuf_add(out, c, 1);
        else
            strbuf_addf(out, "%%%02X", (unsigned)(unsigned char)*c);
    }
}

struct headers {
    struct record_header items[HEADERS];
    size_t n;
};

static void add_header(struct headers *headers, const char *name, const char *text)
{
    if (text)
        headers->items[headers->n++] = (struct record_header){ name, text, strlen(text) };
}

struct record *outcome_event_record(const struct outcome *outcome)
{
    CLEANUP(strbuf_release) struct strbuf source = STRBUF_INIT(SOURCE_MAX_BYTES);
    struct headers headers = { .n = 0 };
    char id[ID_BYTES];

    (void)snprintf(id, sizeof id, "%" PRId64 "-%" PRId64, outcome->run_id, outcome->epoch);
    add_source(&source, outcome->export_name);
    if (!strbuf_ok(&source))
        return NULL;
    add_header(&headers, "ce_specversion", "1.0");
    add_header(&headers, "ce_id", id);
    add_header(&headers, "ce_source", source.data);
    add_header(&headers, "ce_type",
               outcome->succeeded ? "segment.exported.v1" : "segment.export.failed.v1");
    add_header(&headers, "ce_time", outcome->ended_at);
    add_header(&headers, "content-type", "application/json");
    add_header(&headers, "traceparent", outcome->traceparent);
    return record_copy(&(struct record){ .topic = "",
                                         .timestamp_ms = -1,
                                         .key = outcome->segment_id,
                                         .key_bytes = strlen(outcome->segment_id),
                                         .value = outcome->data,
                                         .value_bytes = strlen(outcome->data),
                                         .headers = headers.items,
                                         .headers_n = headers.n });
}
