#include "worker/export/selection.h"

#include <string.h>

enum { REMEMBERED_MAX_BYTES = 1024 * 1024 }; /* an address or a profile id, however odd */

void selection_init(struct selection *selection, bool full)
{
    *selection = (struct selection){ .full = full,
                                     .address = STRBUF_INIT(REMEMBERED_MAX_BYTES),
                                     .profile_id = STRBUF_INIT(REMEMBERED_MAX_BYTES) };
}

void selection_release(struct selection *selection)
{
    strbuf_release(&selection->address);
    strbuf_release(&selection->profile_id);
}

static bool is_same(const struct strbuf *remembered, const struct copy_field *field)
{
    return strbuf_ok(remembered) && remembered->len == field->len &&
           (field->len == 0 || memcmp(remembered->data, field->bytes, field->len) == 0);
}

static void remember(struct strbuf *remembered, const struct copy_field *field)
{
    strbuf_rewind(remembered, 0);
    strbuf_add(remembered, field->bytes ? field->bytes : "", field->len);
}

static const char *fault_of(const struct member *member)
{
    if (member->not_a_string)
        return "email_malformed";
    if (member->cut_not_ascii)
        return "email_not_ascii";
    switch (address_check(member->address.bytes, member->address.len)) {
    case ADDRESS_FINE:
        return NULL;
    case ADDRESS_MISSING:
        return "email_missing";
    case ADDRESS_NOT_ASCII:
        return "email_not_ascii";
    case ADDRESS_TOO_LONG:
        return "email_too_long";
    case ADDRESS_MALFORMED:
        break;
    }
    return "email_malformed";
}

/* Only the ledger knows the address: no member of the segments has it now. */
static void count_absent(struct selection *selection, const struct member *member)
{
    if (member->settled) { /* it was one when an earlier scan of this run read it */
        selection->counts.read++;
        selection->counts.selected++;
    } else if (selection_was_listed(member)) {
        selection->counts.left++;
    }
}

enum selection_step selection_offer(struct selection *selection, const struct member *member,
                                    const char **code)
{
    struct run_counts *counts = &selection->counts;

    if (!member->is_member) {
        count_absent(selection, member);
        return SELECTION_NOTHING;
    }
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
    const char *fault = fault_of(member);
    selection->fine = !fault;
    if (fault) {
        counts->invalid++;
        *code = fault;
        return SELECTION_INVALID;
    }
    if (member->settled) {
        counts->selected++;
        return SELECTION_NOTHING;
    }
    return SELECTION_CANDIDATE;
}

const char *selection_too_large(struct selection *selection)
{
    selection->counts.invalid++;
    return "profile_too_large";
}

enum selection_choice selection_compare(struct selection *selection, const struct member *member,
                                        int64_t fingerprint)
{
    bool there = member->known && member->confirmed && !member->rejected;

    if (there && !selection->full && member->fingerprint == fingerprint) {
        selection->counts.unchanged++;
        return SELECTION_UNCHANGED;
    }
    selection->counts.selected++;
    return member->known && member->rejected ? SELECTION_SEND_ISOLATED : SELECTION_SEND;
}

bool selection_was_listed(const struct member *member)
{
    return member->known && (member->listed || (member->confirmed && !member->rejected));
}

int64_t selection_distinct(const struct selection *selection)
{
    return selection->counts.unchanged + selection->counts.selected;
}
