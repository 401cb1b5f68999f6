#ifndef WORKER_EXPORT_SELECTION_H
#define WORKER_EXPORT_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"
#include "worker/export/address.h"
#include "worker/export/candidate.h"
#include "worker/store/runs.h"

/*
 * The selection: which members are sent (pure, over the sorted stream).
 *
 *     member ──► same profile as before? ──► address fine? ──► address as before?
 *         ──► settled by this run? ──► fine ──► as sent last? ──► selected
 *
 * Duplicates are adjacent in the stream, so all it remembers is one address and
 * one profile id. It keeps the run's counts; read = invalid + duplicate +
 * unchanged + selected after every member.
 */
enum selection_step {
    SELECTION_NOTHING,  /* counted, or not even that: go on with the next */
    SELECTION_SETTLED,  /* counted: this run has done with it before */
    SELECTION_LEFT,     /* counted: no member has the address, and it may be on the list by us */
    SELECTION_NEVER_ON, /* no member has the address, and this export never put it on the list */
    SELECTION_INVALID,  /* counted; code says why, for the rejections */
    SELECTION_FINE,     /* build its object, then ask selection_compare() */
};

enum selection_choice {
    SELECTION_UNCHANGED,
    SELECTION_SEND,
    SELECTION_SEND_ISOLATED, /* Klaviyo refused it last time: in batches of their own */
};

/* Why a member is not sent, as rejections have it; in the order in which a detail names them. */
enum {
    SELECTION_EMAIL_MISSING,
    SELECTION_EMAIL_MALFORMED,
    SELECTION_EMAIL_NOT_ASCII,
    SELECTION_EMAIL_TOO_LONG,
    SELECTION_PROFILE_TOO_LARGE,
    SELECTION_CODES
};
extern const char *const selection_codes[SELECTION_CODES];

struct selection {
    bool full; /* send also what is unchanged */
    struct run_counts counts;
    int64_t seen;  /* members of the stream: one of two segments twice */
    int64_t fresh; /* of the distinct addresses: not on the list before this run */
    int64_t invalid_by[SELECTION_CODES]; /* their sum is counts.invalid */
    bool any;
    bool fine; /* the last member's address was */
    struct strbuf address;
    struct strbuf profile_id;
};

/*
 * full: unchanged members are selected, too. removed: addresses that this run took off the
 * list before; they count among those that left. release frees the memory.
 */
void selection_init(struct selection *selection, bool full, int64_t removed);
void selection_release(struct selection *selection);

/* code is written for SELECTION_INVALID only. */
enum selection_step selection_offer(struct selection *selection, const struct candidate *candidate,
                                    const char **code);

/* The object of a valid member is larger than Klaviyo takes: invalid after all. */
const char *selection_too_large(struct selection *selection);

/* Of the one that was offered last and is fine; counts it as unchanged or selected. */
enum selection_choice selection_compare(struct selection *selection,
                                        const struct candidate *candidate, int64_t fingerprint);

/* The address was on the list before this run, by this export. */
bool selection_was_listed(const struct candidate *candidate);

/* Sent with the list: new to this export, or all are. People who were taken off stay off. */
bool selection_names_list(const struct selection *selection, const struct candidate *candidate);

/* A row of the ledger was passed, whether or not a member has its address: once for each. */
void selection_count_row(struct selection *selection, const struct ledger_row *row);

/*
 * The members so far, and of them the distinct addresses that are fine and not too large. Both are
 * of the members as they are now, as is `fresh`: a member who left since an earlier pass of this
 * run planned it is counted as read and selected, but uses up no limit and trips no guard.
 */
int64_t selection_members(const struct selection *selection);
int64_t selection_distinct(const struct selection *selection);

#endif
