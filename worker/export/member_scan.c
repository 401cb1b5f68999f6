#include "worker/export/member_scan.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "worker/export/member_merge.h"
#include "worker/klaviyo/import_job.h"
#include "worker/store/ledger.h"
#include "worker/store/members.h"

enum {
    INVALID_MAX_ROWS = 1000,                         /* local rejections of one write */
    OBJECT_MAX_BYTES = 2 * IMPORT_JOB_MAX_ROW_BYTES, /* larger is refused anyway */
    OBSERVE_EVERY_ROWS = 1024,                       /* how often the observer is asked */
    LARGE_FROM_ROWS = 20000, /* counted in 10 ms; below it parallel workers do not pay */
};

static void planned_init(struct planned *planned, const struct run_task *task)
{
    struct batch_limits limits = { .rows = IMPORT_JOB_MAX_ROWS,
                                   .bytes = IMPORT_JOB_MAX_BYTES -
                                            import_job_frame_bytes(task->list_id) };

    batch_init(&planned->batch, &limits);
    batch_rows_init(&planned->rows);
}

static void planned_release(struct planned *planned)
{
    batch_release(&planned->batch);
    batch_rows_release(&planned->rows);
}

bool member_scan_init(struct member_scan *scan, const struct run_task *task,
                      const struct scan_observer *observer, struct error *err)
{
    *scan = (struct member_scan){ .task = task,
                                  .observer = observer,
                                  .object = STRBUF_INIT(OBJECT_MAX_BYTES) };
    selection_init(&scan->selection, task->full);
    planned_init(&scan->regular, task);
    planned_init(&scan->isolated, task);
    local_rejections_init(&scan->invalid);
    scan->mapping = mapping_new(task->fields, task->n_fields);
    return scan->mapping || error_no_memory(err);
}

void member_scan_release(struct member_scan *scan)
{
    mapping_free(scan->mapping);
    selection_release(&scan->selection);
    strbuf_release(&scan->object);
    planned_release(&scan->regular);
    planned_release(&scan->isolated);
    local_rejections_release(&scan->invalid);
    db_free(scan->reading);
    db_free(scan->remembering);
    db_free(scan->writing);
}

/* A write of ours that is refused is never the source's fault. */
static bool written(bool ok, struct error *err)
{
    if (!ok && err->kind == ERROR_INPUT)
        err->kind = ERROR_FATAL;
    return ok;
}

/* The batch goes into the outbox, unless this is a preview or over the limit. */
static bool flush_batch(struct member_scan *scan, struct planned *planned, struct error *err)
{
    if (planned->batch.rows == 0)
        return true;
    scan->batches++;
    scan->body_bytes += (int64_t)planned->batch.body.len;
    if (scan->writing && !scan->over_limit) {
        if (!written(
                outbox_plan(scan->writing, scan->task, &planned->rows, &planned->batch.body, err),
                err))
            return false;
        if (scan->observer)
            scan->observer->planned(scan->observer->opaque);
    }
    batch_clear(&planned->batch);
    batch_rows_clear(&planned->rows);
    return true;
}

static bool flush_invalid(struct member_scan *scan, struct error *err)
{
    return !scan->writing ||
           written(local_rejections_write(scan->writing, scan->task, &scan->invalid, err), err);
}

static bool take_invalid(struct member_scan *scan, const struct member *member, const char *code,
                         struct error *err)
{
    if (!scan->writing)
        return true;
    local_rejections_add(&scan->invalid, member->address.bytes, member->address.len,
                         member->profile_id.bytes, member->profile_id.len, code);
    return scan->invalid.n < INVALID_MAX_ROWS || flush_invalid(scan, err);
}

/* Keyed by the export: a fingerprint tells nothing to who has not the key. */
static int64_t fingerprint_of(const struct member_scan *scan)
{
    unsigned char hash[crypto_shorthash_BYTES];
    int64_t fingerprint;

    static_assert(sizeof hash == sizeof fingerprint, "one 64-bit number");
    static_assert(FINGERPRINT_KEY_BYTES == crypto_shorthash_KEYBYTES, "the key of SipHash");
    (void)crypto_shorthash(hash, (const unsigned char *)scan->object.data, scan->object.len,
                           scan->task->fingerprint_key);
    memcpy(&fingerprint, hash, sizeof fingerprint);
    return fingerprint;
}

static bool add_to_batch(struct member_scan *scan, struct planned *planned,
                         const struct member *member, int64_t fingerprint, struct error *err)
{
    enum batch_add added = batch_add(&planned->batch, scan->object.data, scan->object.len);

    if (added == BATCH_FULL) {
        if (!flush_batch(scan, planned, err))
            return false;
        added = batch_add(&planned->batch, scan->object.data, scan->object.len);
    }
    if (added != BATCH_ADDED)
        return error_no_memory(err);
    if (scan->writing) {
        struct batch_row row = { .address = member->address.bytes,
                                 .address_len = member->address.len,
                                 .profile_id = member->profile_id.bytes,
                                 .profile_id_len = member->profile_id.len,
                                 .fingerprint = fingerprint,
                                 .listed = selection_was_listed(member) };
        batch_rows_add(&planned->rows, &row);
    }
    return true;
}

static bool take_candidate(struct member_scan *scan, const struct member *member, struct error *err)
{
    strbuf_rewind(&scan->object, 0);
    mapping_add(scan->mapping, &scan->object, member->address.bytes, member->address.len,
                member->fields);
    if (!strbuf_ok(&scan->object) || scan->object.len > IMPORT_JOB_MAX_ROW_BYTES)
        return take_invalid(scan, member, selection_too_large(&scan->selection), err);

    int64_t fingerprint = fingerprint_of(scan);
    switch (selection_compare(&scan->selection, member, fingerprint)) {
    case SELECTION_UNCHANGED:
        return true;
    case SELECTION_SEND:
        return add_to_batch(scan, &scan->regular, member, fingerprint, err);
    case SELECTION_SEND_ISOLATED:
        break;
    }
    return add_to_batch(scan, &scan->isolated, member, fingerprint, err);
}

static bool take_member(struct member_scan *scan, const struct member *member, struct error *err)
{
    const char *code;

    switch (selection_offer(&scan->selection, member, &code)) {
    case SELECTION_NOTHING:
        return true;
    case SELECTION_INVALID:
        return take_invalid(scan, member, code, err);
    case SELECTION_CANDIDATE:
        break;
    }
    return take_candidate(scan, member, err);
}

static bool ask_observer(struct member_scan *scan, struct error *err)
{
    if (!scan->observer || scan->observer->go_on(scan->observer->opaque, &scan->selection.counts))
        return true;
    return error_set(err, ERROR_LOST, "the plan was stopped");
}

/* Between two members: is it still wanted, is it still within the limit? */
static bool may_continue(struct member_scan *scan, int64_t n, struct error *err)
{
    if (selection_distinct(&scan->selection) > scan->task->max_profiles)
        scan->over_limit = true;
    return n % OBSERVE_EVERY_ROWS != 0 || ask_observer(scan, err);
}

/* The two streams, each with the row it stands at. */
struct sources {
    struct members *members;
    struct ledger *ledger;
    struct member member;
    struct ledger_row row;
    bool has_member, has_row;
    struct member_merge merge;
};

static bool next_member(struct sources *s, struct error *err)
{
    enum members_next next = members_next(s->members, &s->member, err);

    s->has_member = next == MEMBERS_ROW;
    return next != MEMBERS_ERROR;
}

static bool next_row(struct sources *s, struct error *err)
{
    enum ledger_next next = ledger_next(s->ledger, &s->row, err);

    s->has_row = next == LEDGER_ROW;
    return next != LEDGER_ERROR;
}

static void add_ledger(struct member *member, const struct ledger_row *row)
{
    member->known = true;
    member->confirmed = row->confirmed;
    member->listed = row->listed;
    member->rejected = row->rejected;
    member->settled = row->settled;
    member->fingerprint = row->fingerprint;
}

static bool take_absent(struct member_scan *scan, const struct ledger_row *row, struct error *err)
{
    struct member absent = { .is_member = false, .address = row->address };

    add_ledger(&absent, row);
    return take_member(scan, &absent, err);
}

/* *more: false at the end of both streams. */
static bool step(struct member_scan *scan, struct sources *s, bool *more, struct error *err)
{
    switch (member_merge_next(&s->merge, s->has_member ? &s->member.address : NULL,
                              s->has_row ? &s->row.address : NULL)) {
    case MERGE_MEMBER:
        return take_member(scan, &s->member, err) && next_member(s, err);
    case MERGE_BOTH:
        add_ledger(&s->member, &s->row);
        return take_member(scan, &s->member, err) && next_member(s, err);
    case MERGE_ABSENT:
        return take_absent(scan, &s->row, err) && next_row(s, err);
    case MERGE_PASSED:
        return next_row(s, err);
    case MERGE_END:
        break;
    }
    *more = false;
    return true;
}

static bool read_all(struct member_scan *scan, struct sources *s, struct error *err)
{
    bool more = true;

    if (!next_member(s, err) || !next_row(s, err))
        return false;
    for (int64_t n = 1; more; n++)
        if (!step(scan, s, &more, err) || !may_continue(scan, n, err))
            return false;
    return true;
}

/*
 * The stream begins, and its sort runs in parallel with the count, in one
 * snapshot: what was counted is what comes. A small segment is counted first,
 * and read without parallel workers.
 */
static bool start_reading(struct member_scan *scan, struct members *members, struct error *err)
{
    int64_t n;

    if (!members_count(members, scan->remembering, LARGE_FROM_ROWS, &n, err) ||
        !members_start(members, n >= LARGE_FROM_ROWS, err))
        return false;
    if (!scan->observer)
        return true;
    if (n >= LARGE_FROM_ROWS && !members_count(members, scan->remembering, 0, &n, err))
        return false;
    scan->observer->counted(scan->observer->opaque, n);
    return ask_observer(scan, err);
}

bool member_scan_read(struct member_scan *scan, struct error *err)
{
    CLEANUP(members_freep) struct members *members = NULL;
    CLEANUP(ledger_freep) struct ledger *ledger = NULL;

    if (!ask_observer(scan, err) || !members_open(&members, scan->reading, scan->task, err) ||
        !ledger_open(&ledger, scan->remembering, scan->task, err) ||
        !start_reading(scan, members, err))
        return false;
    struct sources sources = { .members = members, .ledger = ledger };
    return read_all(scan, &sources, err) && flush_batch(scan, &scan->regular, err) &&
           flush_batch(scan, &scan->isolated, err) && flush_invalid(scan, err);
}
