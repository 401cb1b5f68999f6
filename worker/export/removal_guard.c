#include "worker/export/removal_guard.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"

static enum removal_verdict withheld(const struct removal_figures *f, char *detail, const char *fmt,
                                     ...) PRINTF_LIKE(3, 4);

/* The numbers are of the whole run, as the share is; who is off already does not stay. */
static enum removal_verdict withheld(const struct removal_figures *f, char *detail, const char *fmt,
                                     ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(detail, REMOVAL_DETAIL_BYTES, fmt, args);
    va_end(args);
    size_t len = strlen(detail);
    if (f->removed > 0)
        (void)snprintf(detail + len, REMOVAL_DETAIL_BYTES - len,
                       " (%" PRId64 " of them are off it already)", f->removed);
    return REMOVAL_WITHHELD;
}

/* Both are counts of rows: a hundred times as many are far from overflowing. */
static bool is_large_share(const struct removal_figures *f)
{
    return f->left > REMOVAL_ALWAYS_MAX && f->left * 100 > f->there * REMOVAL_PERCENT_MAX;
}

#define COUNTS "%" PRId64 " of the %" PRId64 " addresses that this export has on the list"
#define CONFIRM \
    "look at the segments, then take them off with publish --export %s --confirm-removals"

enum removal_verdict removal_judge(const struct removal_figures *f, const char *export_name,
                                   const char *connection_name, char *detail)
{
    if (!f->wanted || f->left <= f->removed)
        return REMOVAL_NOTHING;
    if (!f->account_known)
        return withheld(f, detail,
                        COUNTS " are no members any more and stay on it: the account of "
                               "connection %s is not known, so which other exports hold them is "
                               "not, either; run connection verify %s",
                        f->left, f->there, connection_name, connection_name);
    if (f->confirmed)
        return REMOVAL_ALLOWED;
    if (f->members == 0)
        return withheld(f, detail, "the segments are empty; " COUNTS " stay on it: " CONFIRM,
                        f->left, f->there, export_name);
    if (f->invalid > f->members - f->invalid)
        return withheld(f, detail,
                        "%" PRId64 " of %" PRId64
                        " members are invalid, which is more than half; " COUNTS
                        " are missing and stay on it: is it the right e-mail field? Else " CONFIRM,
                        f->invalid, f->members, f->left, f->there, export_name);
    if (is_large_share(f))
        return withheld(f, detail,
                        COUNTS " are no members any more, which is more than %d %%; they stay "
                               "on it: " CONFIRM,
                        f->left, f->there, REMOVAL_PERCENT_MAX, export_name);
    return REMOVAL_ALLOWED;
}
