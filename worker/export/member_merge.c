#include "worker/export/member_merge.h"

#include <string.h>

/* As PostgreSQL's collation "C" compares. */
static int compare(const struct copy_field *a, const struct copy_field *b)
{
    size_t shorter = a->len < b->len ? a->len : b->len;
    int order = shorter > 0 ? memcmp(a->bytes, b->bytes, shorter) : 0;

    return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static enum merge_step leave_row(struct member_merge *merge)
{
    bool matched = merge->matched;

    merge->matched = false;
    return matched ? MERGE_PASSED : MERGE_ABSENT;
}

enum merge_step member_merge_next(struct member_merge *merge, const struct copy_field *member,
                                  const struct copy_field *row)
{
    if (!member)
        return row ? leave_row(merge) : MERGE_END;
    if (!row || !member->bytes)
        return MERGE_MEMBER;

    int order = compare(member, row);
    if (order > 0)
        return leave_row(merge);
    if (order < 0)
        return MERGE_MEMBER;
    merge->matched = true;
    return MERGE_BOTH;
}
