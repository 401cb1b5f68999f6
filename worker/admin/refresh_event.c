#include "worker/admin/refresh_event.h"
#include "common/json.h"

#include <sodium.h> /* IWYU pragma: keep */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "worker/store/guard.h"

/* Version 4: random, but for the bits that say so. */
static void make_uuid(char *text)
{
    unsigned char b[16];

    randombytes_buf(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(text, UUID_TEXT_BYTES,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
}

void refresh_event_init(struct refresh_event *event)
{
    make_uuid(event->id);
}

/* The names of the guards that are confirmed. */
static json_t *guards_of(unsigned confirmed)
{
    json_t *names = json_array();

    for (int i = 0; names && i < GUARDS_N; i++)
        if (confirmed & GUARD_BIT(i))
            (void)json_array_append_new(names, json_string(guard_name((enum guard)i)));
    return names;
}

static char *data_of(const struct refresh_event *event)
{
    char now[CLOCK_TEXT_BYTES];

    clock_format_us(clock_utc_us(), now);
    CLEANUP(json_freep)
    json_t *data = json_pack("{s:s, s:s, s:s, s:s}", "segment_id", event->segment_id, "refresh_id",
                             event->id, "refreshed_at", now, "trigger", "on-demand");
    bool ok = data != NULL;
    if (ok && event->export_name)
        ok = json_object_set_new(data, "export_id", json_string(event->export_name)) == 0;
    if (ok && event->full)
        ok = json_object_set_new(data, "full", json_true()) == 0;
    if (ok && event->confirm_removals)
        ok = json_object_set_new(data, "confirm_removals", json_true()) == 0;
    if (ok && event->confirmed)
        ok = json_object_set_new(data, "confirm", guards_of(event->confirmed)) == 0;
    return ok ? json_dumps(data, JSON_COMPACT) : NULL;
}

#define HEADER(name_, text)                                           \
    {                                                                 \
        .name = (name_), .value = (text), .value_bytes = strlen(text) \
    }

struct record *refresh_event_record(const struct refresh_event *event)
{
    const struct record_header headers[] = {
        HEADER("ce_specversion", "1.0"),
        HEADER("ce_id", event->id),
        HEADER("ce_source", REFRESH_EVENT_SOURCE),
        HEADER("ce_type", "segment.refreshed.v1"),
        HEADER("content-type", "application/json"),
    };
    char *data = data_of(event);

    if (!data)
        return NULL;
    struct record *copy = record_copy(&(struct record){
        .topic = "",
        .timestamp_ms = clock_utc_us() / 1000,
        .key = event->segment_id,
        .key_bytes = strlen(event->segment_id),
        .value = data,
        .value_bytes = strlen(data),
        .headers = headers,
        .headers_n = sizeof headers / sizeof headers[0],
    });
    free(data);
    return copy;
}
