#include "worker/export/preview.h"

#include <stdlib.h>
#include <string.h>

#include "worker/store/members.h"

static bool open_connections(const struct preview_options *options, struct member_scan *scan,
                             struct error *err)
{
    const struct db_options how = { .url = options->database_url,
                                    .name = "klaviyo-worker preview" };
    struct db **const both[] = { &scan->reading, &scan->remembering };
    char snapshot[SNAPSHOT_BYTES];

    return db_open_together(both, 2, &how, err) && db_begin_snapshot(scan->reading, err) &&
           db_export_snapshot(scan->reading, snapshot, err) &&
           db_join_snapshot(scan->remembering, snapshot, err);
}

static bool take_fields(const struct member_scan *scan, struct preview *preview, struct error *err)
{
    preview->fields = calloc(scan->task->n_fields + 1, sizeof *preview->fields);
    if (!preview->fields)
        return error_no_memory(err);
    for (size_t i = 0; i < scan->task->n_fields; i++)
        preview->fields[i] = mapping_count(scan->mapping, i);
    return true;
}

/* Only where somebody left and somebody is new can an address have changed. */
static bool count_moved(struct member_scan *scan, struct preview *preview, struct error *err)
{
    CLEANUP(members_freep) struct members *members = NULL;

    if (scan->selection.counts.left == 0 || scan->selection.fresh == 0)
        return true;
    return db_begin_snapshot(scan->reading, err) &&
           members_open(&members, scan->reading, scan->task, err) &&
           members_count_moved(members, &preview->moved, err);
}

bool preview_read(const struct preview_options *options, struct preview *preview, struct error *err)
{
    CLEANUP(member_scan_release) struct member_scan scan;

    *preview = (struct preview){ .batches = 0 };
    if (!member_scan_init(&scan, options->task, options->observer, err))
        return false;
    scan.examples = &preview->examples;
    if (!open_connections(options, &scan, err) || !member_scan_read(&scan, err) ||
        !take_fields(&scan, preview, err) || !count_moved(&scan, preview, err))
        return false;
    preview->counts = scan.selection.counts;
    preview->seen = scan.selection.seen;
    preview->fresh = scan.selection.fresh;
    memcpy(preview->invalid_by, scan.selection.invalid_by, sizeof preview->invalid_by);
    preview->batches = scan.batches;
    preview->body_bytes = scan.body_bytes;
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
    CLEANUP(member_scan_release) struct member_scan scan;

    return member_scan_init(&scan, options->task, options->observer, err) &&
           open_connections(options, &scan, err) && member_scan_read(&scan, err);
}
