#ifndef WORKER_ADMIN_REFRESH_EVENT_H
#define WORKER_ADMIN_REFRESH_EVENT_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/kafka/record.h"

/*
 * A refresh event as `publish` writes it: CloudEvents in binary mode, like any
 * publisher's.
 */
#define REFRESH_EVENT_SOURCE "klaviyo-worker/publish"
enum { UUID_TEXT_BYTES = 37 };

struct refresh_event {
    const char *segment_id;
    const char *export_name; /* NULL: every export of the segment */
    bool full;
    bool confirm_removals;
    unsigned confirmed;       /* set of guards (store/guard.h) */
    char id[UUID_TEXT_BYTES]; /* given by refresh_event_init() */
};

/* Gives it a new id; the other members are the caller's. */
void refresh_event_init(struct refresh_event *event);

/* Its record; the caller's, record_free(). NULL when out of memory. */
struct record *refresh_event_record(const struct refresh_event *event) MUST_USE;

#endif
