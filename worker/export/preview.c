#include "worker/export/preview.h"

#include <stdlib.h>
#include <string.h>

#include "worker/export/scan_stop.h"
#include "worker/store/members.h"

static bool take_fields(const struct member_scan *scan, struct preview *preview, struct error *err)
{
    preview->fields = calloc(scan->task->n_fields + 1, sizeof *preview->fields);
    if (!preview->fields)
        return error_no_memory(err);
    for (size_t i = 0; i < scan->task->n_fields; i++)
        preview->fields[i] = mapping_count(scan->mapping, i);
    return true;
}

/* An address can have changed only if a member left and another is new. */
static bool count_moved(struct member_scan *scan, struct preview *preview, struct error *err)
{
    CLEANUP(members_freep) struct members *members = NULL;

    if (scan->selection.counts.left == 0 || scan->selection.fresh == 0)
        return true;
    return db_begin_snapshot(scan->members_db, err) &&
           members_open(&members, scan->members_db, scan->task, err) &&
           members_count_moved(members, &preview->moved, err);
}

/* preview: NULL, where the observer alone wants to know. */
static bool read_members(const struct preview_options *options, struct member_scan *scan,
                         struct preview *preview, struct error *err)
{
    CLEANUP(scan_stop_freep) struct scan_stop *stop = NULL;

    return (scan_stop_open(&stop, scan, &options->database_url, "klaviyo-worker preview", err) &&
            member_scan_read(scan, err) &&
            (!preview || (take_fields(scan, preview, err) && count_moved(scan, preview, err)))) ||
           scan_stop_failure(options->observer, err);
}

bool preview_read(const struct preview_options *options, struct preview *preview, struct error *err)
{
    CLEANUP(member_scan_release) struct member_scan scan = { .task = NULL };

    *preview = (struct preview){ .batches = 0 };
    if (!member_scan_init(&scan, options->task, options->observer, err))
        return false;
    scan.examples = &preview->examples;
    if (!read_members(options, &scan, preview, err))
        return false;
    preview->counts = scan.selection.counts;
    preview->seen = scan.selection.seen;
    preview->fresh = scan.selection.fresh;
    memcpy(preview->invalid_by, scan.selection.invalid_by, sizeof preview->invalid_by);
    preview->batches = scan.writer.batches;
    preview->body_bytes = scan.writer.body_bytes;
    return true;
}

void preview_release(struct preview *preview)
{
    for (size_t i = 0; i < preview->examples.n; i++)
        free(preview->examples.object[i]);
    free(preview->fields);
    *preview = (struct preview){ .batches = 0 };
}

bool preview_observe(const struct preview_options *options, struct error *err)
{
    CLEANUP(member_scan_release) struct member_scan scan = { .task = NULL };

    return member_scan_init(&scan, options->task, options->observer, err) &&
           read_members(options, &scan, NULL, err);
}
