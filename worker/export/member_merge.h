#ifndef WORKER_EXPORT_MEMBER_MERGE_H
#define WORKER_EXPORT_MEMBER_MERGE_H

#include <stdbool.h>

#include "worker/store/copy.h"

/*
 * The merge of two streams in the order of their addresses, by bytes (pure): the members,
 * of which several may have one address, those without one first; and the ledger, which
 * has each address once.
 *
 *     members   -    -    a    b    b    d         member member both both both absent member
 *     ledger              a    b         c         (passed: the row's members have been read)
 *
 * Before each step it is asked which stream advances.
 */
enum merge_step {
    MERGE_MEMBER, /* a member whose address the ledger does not have; read the next member */
    MERGE_BOTH,   /* a member and the ledger's row of its address; read the next member */
    MERGE_ABSENT, /* a ledger row whose address no member has; read the next row */
    MERGE_PASSED, /* a ledger row whose members have been read; read the next row */
    MERGE_END,
};

struct member_merge {
    bool matched; /* the ledger's present row, by a member */
};

/* NULL: that stream has ended. A member without an address has BYTES_NONE. */
enum merge_step member_merge_next(struct member_merge *merge, const struct bytes *member,
                                  const struct bytes *row);

#endif
