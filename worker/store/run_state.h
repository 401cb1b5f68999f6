#ifndef WORKER_STORE_RUN_STATE_H
#define WORKER_STORE_RUN_STATE_H

#include <stdbool.h>

/*
 * The states of a run, and the reasons why it ended or waits: one name for each,
 * the same in the database, in listings, metrics, dead letters and the log. All
 * functions are pure; the names live as long as the program.
 */
enum run_state {
    RUN_QUEUED,
    RUN_RUNNING,
    RUN_WAITING, /* in listings only: running, but nothing can be done */
    RUN_SUCCEEDED,
    RUN_SUCCEEDED_WITH_REJECTIONS,
    RUN_FAILED,
    RUN_CANCELLED,
    RUN_STATES, /* how many there are */
};

enum run_reason {
    REASON_NONE,

    /* Of failed runs; the guards in the order in which the first is the reason. */
    REASON_LIST_GONE,
    REASON_KEY_REFUSED,
    REASON_KEY_UNREADABLE, /* a queued run waits for the same reason */
    REASON_CONNECTION_NEEDS_ATTENTION,
    REASON_OVER_PROFILE_LIMIT,
    REASON_RETRY_BUDGET_USED_UP,
    REASON_SOURCE_UNREADABLE,
    REASON_ANSWER_UNEXPECTED,
    REASON_TAKEN_OVER_TOO_OFTEN,
    REASON_TOO_MANY_INVALID,
    REASON_SIZE_JUMPED,
    REASON_OVER_PLAN_LIMIT,
    REASON_LIST_STARTS_FLOWS,
    REASON_OTHER, /* a name that this version does not know */

    /* Of a succeeded run. */
    REASON_REMOVALS_WITHHELD,

    /* Of cancelled runs: they make no dead letter. */
    REASON_CANCELLED_BY,
    REASON_EXPORT_REMOVED,
    REASON_EXPORT_PAUSED,
    REASON_EXPORT_CHANGED,

    /* Of waiting runs. */
    REASON_KLAVIYO_UNAVAILABLE,
    REASON_DATABASE_UNAVAILABLE,
    REASON_RATE_LIMITED,
    REASON_LIST_IN_USE, /* by another run, while people are to be taken off it */

    /* Of an event that no run is made for. */
    REASON_EVENT_INVALID,

    RUN_REASONS, /* how many there are */
};

/* All of them, for who has named another. */
#define RUN_STATE_NAMES \
    "queued, running, waiting, succeeded, succeeded_with_rejections, failed and cancelled"

/* "succeeded", … */
const char *run_state_name(enum run_state state);

/* False where no state has that name: *state is left as it is. */
bool run_state_of(const char *name, enum run_state *state);

/* Whether the run is over: succeeded (with rejections, too), failed or cancelled. */
bool run_state_is_end(enum run_state state);

/* "list_gone", …; NULL for NONE, as the database and the log have it. */
const char *run_reason_name(enum run_reason reason);

/* NONE for NULL; OTHER for a name of another version. */
enum run_reason run_reason_of(const char *name);

/* Whether runs fail for it. */
bool run_reason_is_failure(enum run_reason reason);

#endif
