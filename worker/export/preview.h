#ifndef WORKER_EXPORT_PREVIEW_H
#define WORKER_EXPORT_PREVIEW_H

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret_source.h"
#include "worker/export/mapping.h"
#include "worker/export/member_scan.h"
#include "worker/export/selection.h"

/*
 * A preview: what a run of an export would do now. The reading of a plan without
 * a write, a run or a thread.
 */
struct preview {
    struct run_counts counts;
    int64_t invalid_by[SELECTION_CODES];
    int64_t seen;  /* members of the stream: one of two segments twice */
    int64_t fresh; /* addresses that are not on the list yet */
    int64_t moved; /* of these, of people who are on it under another address */
    int64_t batches;
    int64_t body_bytes;            /* of all requests, without their frames */
    struct mapping_count *fields;  /* the task's, in their order */
    struct scan_examples examples; /* of objects as a run would send them */
};

struct preview_options {
    struct secret_source database_url;
    const struct run_task *task;          /* of run_task_for_preview() */
    const struct scan_observer *observer; /* gets the number of members, and may stop the scan */
};

/*
 * On the caller's thread, with two connections of its own. ERROR_INPUT: there is
 * no such database, or the site's view cannot be read. ERROR_LOST: the observer
 * said stop, or its stop_fd. preview_release() frees what is in it; it accepts a zeroed one.
 */
bool preview_read(const struct preview_options *options, struct preview *preview, struct error *err)
    MUST_USE;
void preview_release(struct preview *preview);

/* The same for what the observer alone wants to know. */
bool preview_observe(const struct preview_options *options, struct error *err) MUST_USE;

#endif
