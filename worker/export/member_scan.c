#include "worker/export/member_scan.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "worker/export/guards.h"
#include "worker/export/member_merge.h"
#include "worker/klaviyo/import_body.h"
#include "worker/store/ledger.h"
#include "worker/store/members.h"

enum {
    OBJECT_MAX_BYTES = 2 * IMPORT_BODY_MAX_ROW_BYTES, /* larger is refused anyway */
    OBSERVE_EVERY_ROWS = 1024,                        /* how often the observer is asked */
    LARGE_FROM_ROWS = 20000, /* counted in 10 ms; below it parallel workers do not pay */
};

static void tell_writer(struct batch_writer *writer, const struct scan_observer *observer)
{
    if (!observer)
        return;
    writer->planned_one = observer->planned;
    writer->opaque = observer->opaque;
}

bool member_scan_init(struct member_scan *scan, const struct run_task *task,
                      const struct scan_observer *observer, struct error *err)
{
    *scan = (struct member_scan){
        .task = task, .observer = observer, .expected = -1, .object = STRBUF_INIT(OBJECT_MAX_BYTES)
    };
    selection_init(&scan->selection, task->full, task->removed);
    batch_writer_init(&scan->writer, task);
    tell_writer(&scan->writer, observer);
    scan->mapping = mapping_new(task->fields, task->n_fields);
    return scan->mapping || error_no_memory(err);
}

void member_scan_release(struct member_scan *scan)
{
    mapping_free(scan->mapping);
    selection_release(&scan->selection);
    strbuf_release(&scan->object);
    batch_writer_release(&scan->writer);
    db_free(scan->members_db);
    db_free(scan->ledger_db);
}

/* Keyed by the export: a fingerprint reveals nothing without the key. */
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

/* Fields that ever had a value as sent; where that is not known, any property may have. */
static uint64_t filled_before(const struct member_scan *scan, const struct ledger_row *row)
{
    if (!row)
        return 0;
    return row->has_filled ? row->filled : mapping_properties(scan->mapping);
}

static void count_not_cleared(struct member_scan *scan, const struct candidate *candidate)
{
    const struct ledger_row *row = candidate->row;

    if (row && row->has_filled &&
        mapping_cannot_clear(scan->mapping, row->filled, candidate->member->fields))
        scan->selection.counts.not_cleared++;
}

static enum planned_kind kind_of(const struct member_scan *scan, const struct candidate *candidate,
                                 bool isolated)
{
    bool names_list = selection_names_list(&scan->selection, candidate);

    if (isolated)
        return names_list ? PLANNED_ISOLATED_NEW : PLANNED_ISOLATED_LISTED;
    return names_list ? PLANNED_NEW : PLANNED_LISTED;
}

static struct batch_row row_of(const struct member_scan *scan, const struct candidate *candidate,
                               int64_t fingerprint)
{
    const struct member *member = candidate->member;

    return (struct batch_row){ .address = member->address,
                               .profile_id = member->profile_id,
                               .fingerprint = fingerprint,
                               .known = candidate->row != NULL,
                               .filled = filled_before(scan, candidate->row) |
                                         mapping_filled(scan->mapping, member->fields),
                               .listed = selection_was_listed(candidate) };
}

static bool add_to_batch(struct member_scan *scan, const struct candidate *candidate, bool isolated,
                         int64_t fingerprint, struct error *err)
{
    const struct batch_row *kept = NULL;
    struct batch_row row;

    if (scan->writer.keeps_rows) {
        row = row_of(scan, candidate, fingerprint);
        kept = &row;
    }
    count_not_cleared(scan, candidate);
    return batch_writer_add(&scan->writer, kind_of(scan, candidate, isolated), &scan->object, kept,
                            err);
}

/*
 * The fingerprint is of the values: what is unset follows from those that were there. False:
 * the object is too large.
 */
static bool make_object(struct member_scan *scan, const struct candidate *candidate,
                        int64_t *fingerprint)
{
    const struct member *member = candidate->member;
    struct strbuf *object = &scan->object;

    strbuf_rewind(object, 0);
    mapping_add(scan->mapping, object, member->address.at, member->address.n, member->fields);
    if (!strbuf_ok(object))
        return false;
    *fingerprint = fingerprint_of(scan);
    mapping_add_unset(scan->mapping, object, filled_before(scan, candidate->row), member->fields);
    return strbuf_ok(object) && object->len <= IMPORT_BODY_MAX_ROW_BYTES;
}

/* Refused before or not: it is few rows. */
static bool plan_trial_row(struct member_scan *scan, const struct candidate *candidate,
                           int64_t fingerprint, struct error *err)
{
    if (!trial_wants(scan->trial, &scan->object))
        return true;
    return add_to_batch(scan, candidate, false, fingerprint, err) &&
           (trial_add(scan->trial, candidate->member, &scan->object) || error_no_memory(err));
}

/* For the observer, if there is one. */
static bool tell_address(struct member_scan *scan, const struct candidate *candidate,
                         bool is_member, struct error *err)
{
    return !scan->observer || !scan->observer->address || !(is_member || candidate->row) ||
           scan->observer->address(scan->observer->opaque, candidate, is_member, err);
}

static bool keep_example(struct member_scan *scan, struct error *err)
{
    struct scan_examples *kept = scan->examples;

    if (kept->n == SCAN_EXAMPLES)
        return true;
    kept->object[kept->n] = strndup(scan->object.data, scan->object.len);
    if (!kept->object[kept->n])
        return error_no_memory(err);
    kept->n++;
    return true;
}

static bool reject(struct member_scan *scan, const struct member *member, const char *code,
                   struct error *err)
{
    if (scan->trial)
        scan->trial->code = scan->trial->profile ? code : NULL;
    return batch_writer_reject(&scan->writer, member->address, member->profile_id, code, err);
}

/* Its address is fine: does its object fit, and was it sent as it is? */
static bool plan_member(struct member_scan *scan, const struct candidate *candidate,
                        struct error *err)
{
    int64_t fingerprint;
    bool fits = make_object(scan, candidate, &fingerprint);

    if (!tell_address(scan, candidate, fits, err))
        return false;
    if (!fits)
        return reject(scan, candidate->member, selection_too_large(&scan->selection), err);
    if (scan->trial)
        return plan_trial_row(scan, candidate, fingerprint, err);
    if (scan->examples && !keep_example(scan, err))
        return false;

    enum selection_choice choice = selection_compare(&scan->selection, candidate, fingerprint);
    if (choice == SELECTION_UNCHANGED)
        return true;
    return add_to_batch(scan, candidate, choice == SELECTION_SEND_ISOLATED, fingerprint, err);
}

static bool offer(struct member_scan *scan, const struct candidate *candidate, struct error *err)
{
    const char *code;
    enum selection_step step = selection_offer(&scan->selection, candidate, &code);

    if (scan->trial && !trial_considers(scan->trial, candidate->member))
        return true;
    switch (step) {
    case SELECTION_NOTHING:
        return true;
    case SELECTION_SETTLED:
        count_not_cleared(scan, candidate);
        return true;
    case SELECTION_LEFT:
        return batch_writer_mark(&scan->writer, candidate->row->address, err);
    case SELECTION_NEVER_ON:
        return batch_writer_forget(&scan->writer, candidate->row->address, err);
    case SELECTION_INVALID:
        return reject(scan, candidate->member, code, err);
    case SELECTION_FINE:
        break;
    }
    return plan_member(scan, candidate, err);
}

static bool ask_observer(struct member_scan *scan, struct error *err)
{
    if (!scan->observer || scan->observer->go_on(scan->observer->opaque, &scan->selection))
        return true;
    return error_set(err, ERROR_LOST, "the plan was stopped");
}

/* So that the run fails: it cannot have passed by the count. */
static bool is_over_limit(const struct member_scan *scan)
{
    return selection_distinct(&scan->selection) > scan->task->max_profiles &&
           (scan->expected < 0 || scan->selection.seen <= scan->expected);
}

/* Between two members: is it still wanted, is it still within the limit? */
static bool may_continue(struct member_scan *scan, int64_t n, struct error *err)
{
    scan->writer.over_limit = scan->writer.over_limit || is_over_limit(scan);
    return n % OBSERVE_EVERY_ROWS != 0 || ask_observer(scan, err);
}

/* The two streams, each with its current row. */
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

static bool offer_member(struct member_scan *scan, const struct sources *s, bool has_row,
                         struct error *err)
{
    const struct candidate candidate = { .member = &s->member, .row = has_row ? &s->row : NULL };

    return offer(scan, &candidate, err);
}

/* The row's members have been read, if there are any. */
static bool pass_row(struct member_scan *scan, const struct ledger_row *row, bool is_absent,
                     struct error *err)
{
    const struct candidate candidate = { .row = row };

    selection_count_row(&scan->selection, row);
    return !is_absent ||
           (tell_address(scan, &candidate, false, err) && offer(scan, &candidate, err));
}

/* *more: false at the end of both streams. */
static bool step(struct member_scan *scan, struct sources *s, bool *more, struct error *err)
{
    switch (member_merge_next(&s->merge, s->has_member ? &s->member.address : NULL,
                              s->has_row ? &s->row.address : NULL)) {
    case MERGE_MEMBER:
        return offer_member(scan, s, false, err) && next_member(s, err);
    case MERGE_BOTH:
        return offer_member(scan, s, true, err) && next_member(s, err);
    case MERGE_ABSENT:
        return pass_row(scan, &s->row, true, err) && next_row(s, err);
    case MERGE_PASSED:
        return pass_row(scan, &s->row, false, err) && next_row(s, err);
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
    for (int64_t n = 1; more && !(scan->trial && trial_is_complete(scan->trial)); n++)
        if (!step(scan, s, &more, err) || !may_continue(scan, n, err))
            return false;
    return true;
}

/* A preview reports its progress. */
static enum guards_count wanted_count(const struct member_scan *scan, const struct ledger *ledger)
{
    if (!scan->writer.outbox_db)
        return GUARDS_COUNT_MEMBERS;
    return guards_want_count(&scan->task->guards, scan->task->full || ledger_is_empty(ledger));
}

static bool count_all(struct member_scan *scan, const struct members *members,
                      enum guards_count wanted, struct member_count *count, struct error *err)
{
    switch (wanted) {
    case GUARDS_COUNT_NOTHING:
        break;
    case GUARDS_COUNT_MEMBERS:
        return members_count(members, scan->ledger_db, 0, &count->members, err);
    case GUARDS_COUNT_DOUBTFUL:
        return member_count_doubtful(count, members, scan->ledger_db, scan->mapping, err);
    }
    return false;
}

/*
 * Of many members. False: the count is not wanted, or failed for any reason; then imports
 * begin later, and errors of the members show when they are read. The snapshot is needed
 * for the ledger.
 */
static bool count_beside(struct member_scan *scan, const struct members *members,
                         enum guards_count wanted, struct member_count *count)
{
    struct error ignored = ERROR_INIT;

    if (wanted == GUARDS_COUNT_NOTHING || !db_savepoint(scan->ledger_db, &ignored))
        return false;
    bool counted = count_all(scan, members, wanted, count, &ignored);
    if (!counted)
        db_undo_to_savepoint(scan->ledger_db);
    return counted;
}

/*
 * A small segment is counted first, and read without parallel workers. A large one is counted
 * where that lets imports begin early: during the sort, and in the same snapshot, so that
 * what was counted is what comes.
 */
static bool start_reading(struct member_scan *scan, struct members *members,
                          const struct ledger *ledger, struct error *err)
{
    struct member_count count = { .doubt_counted = false };

    if (!members_count(members, scan->ledger_db, LARGE_FROM_ROWS, &count.members, err) ||
        !members_start(members, count.members >= LARGE_FROM_ROWS, err))
        return false;
    if (!scan->observer)
        return true;
    if (count.members < LARGE_FROM_ROWS ||
        count_beside(scan, members, wanted_count(scan, ledger), &count)) {
        scan->expected = count.members;
        scan->observer->counted(scan->observer->opaque, &count);
    }
    return ask_observer(scan, err);
}

static bool read_and_write(struct member_scan *scan, struct error *err)
{
    CLEANUP(members_freep) struct members *members = NULL;
    CLEANUP(ledger_freep) struct ledger *ledger = NULL;

    if (!ask_observer(scan, err) || !members_open(&members, scan->members_db, scan->task, err) ||
        !ledger_open(&ledger, scan->ledger_db, scan->task, err) ||
        !start_reading(scan, members, ledger, err))
        return false;
    struct sources sources = { .members = members, .ledger = ledger };
    scan->writer.keeps_rows = scan->trial || scan->writer.outbox_db;
    if (scan->trial)
        return read_all(scan, &sources, err);
    return read_all(scan, &sources, err) && batch_writer_finish(&scan->writer, err);
}

bool member_scan_read(struct member_scan *scan, struct error *err)
{
    if (read_and_write(scan, err))
        return true;
    batch_writer_abandon(&scan->writer);
    return false;
}

bool member_scan_write_trial(struct member_scan *scan, const struct run_task *run,
                             struct error *err)
{
    scan->writer.task = run;
    scan->writer.planned_one = NULL;
    scan->writer.over_limit = false;
    if (batch_writer_finish(&scan->writer, err))
        return true;
    batch_writer_abandon(&scan->writer);
    return false;
}
