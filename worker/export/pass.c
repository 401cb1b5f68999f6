#include "worker/export/pass.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "worker/klaviyo/import_job.h"
#include "worker/store/members.h"

enum {
    INVALID_MAX_ROWS = 1000,                         /* local rejections of one write */
    OBJECT_MAX_BYTES = 2 * IMPORT_JOB_MAX_ROW_BYTES, /* larger is refused anyway */
    LOOK_EVERY_ROWS = 1024,                          /* how often the watch is asked */
};

static void planned_init(struct planned *planned, const struct run_task *task)
{
    struct batch_limits limits = { .rows = IMPORT_JOB_MAX_ROWS,
                                   .bytes = IMPORT_JOB_MAX_BYTES -
                                            import_job_frame_bytes(task->list_id) };

    batch_init(&planned->batch, &limits);
    outbox_rows_init(&planned->rows);
}

static void planned_release(struct planned *planned)
{
    batch_release(&planned->batch);
    outbox_rows_release(&planned->rows);
}

bool pass_init(struct pass *pass, const struct run_task *task, const struct pass_watch *watch,
               struct error *err)
{
    *pass = (struct pass){ .task = task, .watch = watch, .object = STRBUF_INIT(OBJECT_MAX_BYTES) };
    selection_init(&pass->selection, task->full);
    planned_init(&pass->usual, task);
    planned_init(&pass->apart, task);
    outbox_invalid_init(&pass->invalid);
    pass->mapping = mapping_new(task->fields, task->n_fields);
    return pass->mapping || error_no_memory(err);
}

void pass_release(struct pass *pass)
{
    mapping_free(pass->mapping);
    selection_release(&pass->selection);
    strbuf_release(&pass->object);
    planned_release(&pass->usual);
    planned_release(&pass->apart);
    outbox_invalid_release(&pass->invalid);
    db_free(pass->reading);
    db_free(pass->writing);
}

/* A write of ours that is refused is never the source's fault. */
static bool written(bool ok, struct error *err)
{
    if (!ok && err->kind == ERROR_INPUT)
        err->kind = ERROR_FATAL;
    return ok;
}

/* The batch goes into the outbox, unless this is a preview or over the limit. */
static bool flush_batch(struct pass *pass, struct planned *planned, struct error *err)
{
    if (planned->batch.rows == 0)
        return true;
    pass->batches++;
    pass->body_bytes += (int64_t)planned->batch.body.len;
    if (pass->writing && !pass->over_limit) {
        if (!written(
                outbox_plan(pass->writing, pass->task, &planned->rows, &planned->batch.body, err),
                err))
            return false;
        if (pass->watch)
            pass->watch->planned(pass->watch->world);
    }
    batch_clear(&planned->batch);
    outbox_rows_clear(&planned->rows);
    return true;
}

static bool flush_invalid(struct pass *pass, struct error *err)
{
    return !pass->writing ||
           written(outbox_reject_local(pass->writing, pass->task, &pass->invalid, err), err);
}

static bool take_invalid(struct pass *pass, const struct member *member, const char *code,
                         struct error *err)
{
    if (!pass->writing)
        return true;
    outbox_invalid_add(&pass->invalid, member->address.bytes, member->address.len,
                       member->profile_id.bytes, member->profile_id.len, code);
    return pass->invalid.n < INVALID_MAX_ROWS || flush_invalid(pass, err);
}

/* Keyed by the export: a fingerprint tells nothing to who has not the key. */
static int64_t fingerprint_of(const struct pass *pass)
{
    unsigned char hash[crypto_shorthash_BYTES];
    int64_t fingerprint;

    static_assert(sizeof hash == sizeof fingerprint, "one 64-bit number");
    static_assert(FINGERPRINT_KEY_BYTES == crypto_shorthash_KEYBYTES, "the key of SipHash");
    (void)crypto_shorthash(hash, (const unsigned char *)pass->object.data, pass->object.len,
                           pass->task->fingerprint_key);
    memcpy(&fingerprint, hash, sizeof fingerprint);
    return fingerprint;
}

static bool add_to_batch(struct pass *pass, struct planned *planned, const struct member *member,
                         int64_t fingerprint, struct error *err)
{
    enum batch_add added = batch_add(&planned->batch, pass->object.data, pass->object.len);

    if (added == BATCH_FULL) {
        if (!flush_batch(pass, planned, err))
            return false;
        added = batch_add(&planned->batch, pass->object.data, pass->object.len);
    }
    if (added != BATCH_ADDED)
        return error_no_memory(err);
    if (pass->writing) {
        struct outbox_row row = { .address = member->address.bytes,
                                  .address_len = member->address.len,
                                  .profile_id = member->profile_id.bytes,
                                  .profile_id_len = member->profile_id.len,
                                  .fingerprint = fingerprint,
                                  .listed = selection_was_listed(member) };
        outbox_rows_add(&planned->rows, &row);
    }
    return true;
}

static bool take_candidate(struct pass *pass, const struct member *member, struct error *err)
{
    strbuf_rewind(&pass->object, 0);
    mapping_add(pass->mapping, &pass->object, member->address.bytes, member->address.len,
                member->fields);
    if (!strbuf_ok(&pass->object) || pass->object.len > IMPORT_JOB_MAX_ROW_BYTES)
        return take_invalid(pass, member, selection_too_large(&pass->selection), err);

    int64_t fingerprint = fingerprint_of(pass);
    switch (selection_compare(&pass->selection, member, fingerprint)) {
    case SELECTION_UNCHANGED:
        return true;
    case SELECTION_SEND:
        return add_to_batch(pass, &pass->usual, member, fingerprint, err);
    case SELECTION_SEND_APART:
        break;
    }
    return add_to_batch(pass, &pass->apart, member, fingerprint, err);
}

static bool take_member(struct pass *pass, const struct member *member, struct error *err)
{
    const char *code;

    switch (selection_offer(&pass->selection, member, &code)) {
    case SELECTION_NOTHING:
        return true;
    case SELECTION_INVALID:
        return take_invalid(pass, member, code, err);
    case SELECTION_CANDIDATE:
        break;
    }
    return take_candidate(pass, member, err);
}

static bool ask_watch(struct pass *pass, struct error *err)
{
    if (!pass->watch || pass->watch->go_on(pass->watch->world, &pass->selection.counts))
        return true;
    return error_set(err, ERROR_LOST, "the plan was stopped");
}

/* Between two members: is it still wanted, is it still within the limit? */
static bool look_up(struct pass *pass, int64_t n, struct error *err)
{
    if (selection_distinct(&pass->selection) > pass->task->max_profiles)
        pass->over_limit = true;
    return n % LOOK_EVERY_ROWS != 0 || ask_watch(pass, err);
}

static bool read_all(struct pass *pass, struct members *members, struct error *err)
{
    struct member member;

    for (int64_t n = 1;; n++) {
        switch (members_next(members, &member, err)) {
        case MEMBERS_ERROR:
            return false;
        case MEMBERS_END:
            return true;
        case MEMBERS_ROW:
            break;
        }
        if (!take_member(pass, &member, err) || !look_up(pass, n, err))
            return false;
    }
}

/* One snapshot for the count and the stream: what was counted is what comes. */
static bool count_members(struct pass *pass, struct members *members, struct error *err)
{
    int64_t count;

    if (!members_count(members, &count, err))
        return false;
    if (!pass->watch)
        return true;
    pass->watch->counted(pass->watch->world, count);
    return ask_watch(pass, err);
}

bool pass_read(struct pass *pass, struct error *err)
{
    CLEANUP(members_freep) struct members *members = NULL;

    if (!ask_watch(pass, err) || !members_open(&members, pass->reading, pass->task, err) ||
        !count_members(pass, members, err) || !read_all(pass, members, err))
        return false;
    return flush_batch(pass, &pass->usual, err) && flush_batch(pass, &pass->apart, err) &&
           flush_invalid(pass, err);
}
