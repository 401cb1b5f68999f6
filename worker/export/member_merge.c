#include "worker/export/member_merge.h"

#include <string.h>

/* As PostgreSQL's collation "C" compares. */
static int compare(const struct bytes *a, const struct bytes *b)
{
    size_t shorter = a->n < b->n ? a->n : b->n;
    int order = shorter > 0 ? memcmp(a->at, b->at, shorter) : 0;

    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

static enum merge_step leave_row(struct member_merge *merge)
{
    bool matched = merge->matched;

    merge->matched = false;
    return matched ? MERGE_PASSED : MERGE_ABSENT;
}

enum merge_step member_merge_next(struct member_merge *merge, const struct bytes *member,
                                  const struct bytes *row)
{
    if (!member)
        return row ? leave_row(merge) : MERGE_END;
    if (!row || !member->at)
        return MERGE_MEMBER;

    int order = compare(member, row);
    if (order > 0)
        return leave_row(merge);
    if (order < 0)
        return MERGE_MEMBER;
    merge->matched = true;
    return MERGE_BOTH;
}
