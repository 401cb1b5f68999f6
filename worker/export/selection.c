#include "worker/export/selection.h"

#include <string.h>

enum { REMEMBERED_MAX_BYTES = 1024 * 1024 }; /* an address or a profile id, however odd */

const char *const selection_codes[SELECTION_CODES] = {
    [SELECTION_EMAIL_MISSING] = "email_missing",
    [SELECTION_EMAIL_MALFORMED] = "email_malformed",
    [SELECTION_EMAIL_NOT_ASCII] = "email_not_ascii",
    [SELECTION_EMAIL_TOO_LONG] = "email_too_long",
    [SELECTION_PROFILE_TOO_LARGE] = "profile_too_large",
};

void selection_init(struct selection *selection, bool full, int64_t removed)
{
    *selection = (struct selection){ .full = full,
                                     .counts = { .left = removed, .there = removed },
                                     .address = STRBUF_INIT(REMEMBERED_MAX_BYTES),
                                     .profile_id = STRBUF_INIT(REMEMBERED_MAX_BYTES) };
}

void selection_release(struct selection *selection)
{
    strbuf_release(&selection->address);
    strbuf_release(&selection->profile_id);
}

static bool is_same(const struct strbuf *remembered, const struct bytes *field)
{
    return strbuf_ok(remembered) && remembered->len == field->n &&
           (field->n == 0 || memcmp(remembered->data, field->at, field->n) == 0);
}

static void remember(struct strbuf *remembered, const struct bytes *field)
{
    strbuf_rewind(remembered, 0);
    strbuf_add(remembered, field->at ? field->at : "", field->n);
}

/* A code's number; -1: the address is fine. */
static int fault_of(const struct member *member)
{
    if (member->not_a_string)
        return SELECTION_EMAIL_MALFORMED;
    if (member->cut_not_ascii)
        return SELECTION_EMAIL_NOT_ASCII;
    switch (address_check(member->address.at, member->address.n)) {
    case ADDRESS_FINE:
        return -1;
    case ADDRESS_MISSING:
        return SELECTION_EMAIL_MISSING;
    case ADDRESS_NOT_ASCII:
        return SELECTION_EMAIL_NOT_ASCII;
    case ADDRESS_TOO_LONG:
        return SELECTION_EMAIL_TOO_LONG;
    case ADDRESS_MALFORMED:
        break;
    }
    return SELECTION_EMAIL_MALFORMED;
}

static const char *count_invalid(struct selection *selection, int fault)
{
    selection->counts.invalid++;
    selection->invalid_by[fault]++;
    return selection_codes[fault];
}

/* Planned by an earlier pass of this run, which did not find it on the list. */
static void count_settled(struct selection *selection, const struct ledger_row *row)
{
    selection->counts.selected++;
    selection->fresh += !row->listed;
}

/* It was a member when an earlier pass of this run read it, and planned it. */
static void count_gone(struct run_counts *counts)
{
    counts->read++;
    counts->selected++;
    counts->gone++;
}

static bool was_listed(const struct ledger_row *row)
{
    return !row->removing && (row->listed || (row->confirmed && !row->rejected));
}

/*
 * What this export sent, or began to send, or will have sent when this run ends. In doubt
 * it counts as being there.
 *
 * An import error is no doubt: Klaviyo says that it did not import that row. Were it to put
 * somebody on the list all the same, they would stay when they leave. But if all who were
 * refused counted as being there, those whom a form or somebody's hand put on the list would be
 * taken off it, other exports could take nobody off whom this one was refused, and the share
 * that the guard of removals looks at would be of more than is there.
 */
static bool may_be_on_list(const struct ledger_row *row)
{
    return was_listed(row) || row->posted || row->removing || row->perhaps_listed ||
           (row->settled && !row->confirmed);
}

/* Only the ledger knows the address: no member of the segments has it now. */
static enum selection_step offer_absent(struct selection *selection, const struct ledger_row *row)
{
    if (row->settled)
        count_gone(&selection->counts);
    if (may_be_on_list(row)) {
        selection->counts.left++;
        return SELECTION_LEFT;
    }
    return row->settled ? SELECTION_NOTHING : SELECTION_NEVER_ON;
}

enum selection_step selection_offer(struct selection *selection, const struct candidate *candidate,
                                    const char **code)
{
    struct run_counts *counts = &selection->counts;
    const struct member *member = candidate->member;

    if (!member)
        return offer_absent(selection, candidate->row);
    selection->seen++;
    bool same_address = selection->any && is_same(&selection->address, &member->address);
    if (same_address && is_same(&selection->profile_id, &member->profile_id))
        return SELECTION_NOTHING; /* a profile of two segments is read once */

    selection->any = true;
    counts->read++;
    remember(&selection->profile_id, &member->profile_id);
    if (same_address && selection->fine) {
        counts->duplicate++;
        return SELECTION_NOTHING;
    }
    remember(&selection->address, &member->address);
    int fault = fault_of(member);
    selection->fine = fault < 0;
    if (fault >= 0) {
        *code = count_invalid(selection, fault);
        return SELECTION_INVALID;
    }
    if (candidate->row && candidate->row->settled) {
        count_settled(selection, candidate->row);
        return SELECTION_SETTLED;
    }
    return SELECTION_FINE;
}

const char *selection_too_large(struct selection *selection)
{
    return count_invalid(selection, SELECTION_PROFILE_TOO_LARGE);
}

enum selection_choice selection_compare(struct selection *selection,
                                        const struct candidate *candidate, int64_t fingerprint)
{
    const struct ledger_row *row = candidate->row;
    bool there = row && row->confirmed && !row->rejected && !row->removing;

    if (there && !selection->full && row->fingerprint == fingerprint) {
        selection->counts.unchanged++;
        return SELECTION_UNCHANGED;
    }
    selection->counts.selected++;
    selection->fresh += !selection_was_listed(candidate);
    return row && row->rejected ? SELECTION_SEND_ISOLATED : SELECTION_SEND;
}

bool selection_was_listed(const struct candidate *candidate)
{
    return candidate->row && was_listed(candidate->row);
}

bool selection_names_list(const struct selection *selection, const struct candidate *candidate)
{
    return selection->full || !selection_was_listed(candidate);
}

void selection_count_row(struct selection *selection, const struct ledger_row *row)
{
    selection->counts.there += may_be_on_list(row);
}

int64_t selection_members(const struct selection *selection)
{
    return run_counts_members(&selection->counts);
}

int64_t selection_distinct(const struct selection *selection)
{
    return selection->counts.unchanged + selection->counts.selected - selection->counts.gone;
}
