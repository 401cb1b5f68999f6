#ifndef WORKER_EXPORT_CANDIDATE_H
#define WORKER_EXPORT_CANDIDATE_H

#include "worker/store/ledger.h"
#include "worker/store/members.h"

/*
 * A candidate: a member, with what the ledger has of its address; or a row of the ledger
 * whose address no member has now. Never neither. Both are lent by their streams.
 */
struct candidate {
    const struct member *member;  /* NULL: no member has the address */
    const struct ledger_row *row; /* NULL: the ledger does not have it */
};

static inline const struct bytes *candidate_address(const struct candidate *candidate)
{
    return candidate->member ? &candidate->member->address : &candidate->row->address;
}

#endif
