#ifndef WORKER_EXPORT_REMOVAL_GUARD_H
#define WORKER_EXPORT_REMOVAL_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The guard before a removal: that many leavers are rather a mistake upstream than people who left
 * (pure). The figures are the contract's, guarantee 6.
 *
 *     nobody is left to go, or they are kept       NOTHING
 *     the account of the connection is not known   WITHHELD, whatever was confirmed
 *     confirmed                                    ALLOWED
 *     there is no member                           WITHHELD
 *     more than half of the members are invalid    WITHHELD
 *     over 20 % left, and over 100                 WITHHELD
 *     else                                         ALLOWED
 */
enum {
    REMOVAL_PERCENT_MAX = 20,
    REMOVAL_ALWAYS_MAX = 100, /* up to this many are taken off, whatever their share */
    REMOVAL_DETAIL_BYTES = 512,
};

struct removal_figures {
    bool wanted;        /* --on-leave remove */
    bool account_known; /* else which exports share the list is not known */
    bool confirmed;     /* by an event, once */
    int64_t left;       /* addresses on the list by this export that are members no longer */
    int64_t there;      /* those, and the others that it has on the list */
    int64_t members;    /* as they are now: not whom an earlier pass of the run had planned */
    int64_t invalid;    /* of them */
    int64_t removed;    /* of those who left: taken off by this run before it was taken again */
};

enum removal_verdict { REMOVAL_NOTHING, REMOVAL_ALLOWED, REMOVAL_WITHHELD };

/*
 * detail (size REMOVAL_DETAIL_BYTES): for WITHHELD a sentence with both numbers and what to do;
 * else unchanged. export_name and connection_name are for the sentence.
 */
enum removal_verdict removal_judge(const struct removal_figures *figures, const char *export_name,
                                   const char *connection_name, char *detail);

#endif
