#ifndef WORKER_EXPORT_MEMBER_COUNT_H
#define WORKER_EXPORT_MEMBER_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/export/mapping.h"
#include "worker/store/members.h"

/*
 * How many members there are, and how many of them are doubtful: perhaps invalid. Every other
 * member has an address that is sent as it is written, but for its case, and values that
 * surely fit into a profile. A doubtful one may turn out valid: a blank before the address, say.
 *
 * They are counted during the sort, in its snapshot. The same check of the same address decides
 * as when they are read: one in SQL took longer (1.0 s instead of 0.5 s for a million).
 */
struct member_count {
    int64_t members;    /* rows: one of two segments twice */
    bool doubt_counted; /* else doubtful says nothing */
    int64_t doubtful;
};

/* db: as members_count() has it. */
bool member_count_doubtful(struct member_count *count, const struct members *members, struct db *db,
                           const struct mapping *mapping, struct error *err) MUST_USE;

#endif
