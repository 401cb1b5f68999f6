#ifndef WORKER_STORE_RUNS_H
#define WORKER_STORE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"
#include "worker/store/run_state.h"
#include "worker/store/run_task.h"

/*
 * Runs, as the worker that owns one sees them.
 *
 * A run is taken (a new owner, a new lease), renewed by heartbeats, and ended.
 * Every write names the run and the take (fence.h); where the run is no longer
 * ours by that take nothing is written and the error is of kind ERROR_LOST:
 * relinquish it.
 */
enum run_take {
    RUN_TAKE_NONE,   /* nothing to do now */
    RUN_TAKE_CLOSED, /* one was ended instead (paused, removed, …): ask again */
    RUN_TAKE_TASK,
};

struct run_taker {
    const char *worker; /* shown in listings */
    int64_t lease_ms;
    int64_t key_pair_id; /* whose keys it can open */
    bool recover;        /* take what other workers left, too */
    bool short_only;     /* of the queued ones only exports whose last run was short */
};

/* A run that a take has ended instead: nobody executes it, so the taker reports it. */
enum { RUN_NAME_BYTES = 801 }; /* 200 characters at most, by a constraint of the table */
struct run_closed {
    int64_t run_id;
    char export_name[RUN_NAME_BYTES];
    enum run_state state;
    enum run_reason reason;
};

/* What came of a take. */
struct run_taken {
    enum run_take what;
    struct run_task *task;    /* TASK: the caller's */
    struct run_closed closed; /* CLOSED */
};

/*
 * Takes one run, if there is one that the taker may have. *taken is written on
 * success only; after a failure a run that was taken is left to its lease.
 */
bool runs_take(struct db *db, const struct run_taker *taker, struct run_taken *taken,
               struct error *err) MUST_USE;

/*
 * How many queued runs takes pass over because somebody holds a lock on them or on
 * their exports: those that this key pair's workers could take for two seconds; of the oldest 100.
 */
bool runs_count_blocked(struct db *db, int64_t key_pair_id, int64_t *runs, struct error *err)
    MUST_USE;

/* Counts of a member scan, as they stand. */
struct run_counts {
    int64_t read;
    int64_t invalid;
    int64_t duplicate;
    int64_t unchanged;
    int64_t selected;
    int64_t gone; /* of read and selected: planned by an earlier pass, and no member any more */
    int64_t left;
    int64_t there;       /* addresses that this export is known to have put on the list */
    int64_t not_cleared; /* rows with an attribute that lost its value and cannot be cleared */
};

/* Members as they are now: of those that were read, the ones not gone. */
static inline int64_t run_counts_members(const struct run_counts *counts)
{
    return counts->read - counts->gone;
}

struct run_heartbeat {
    int64_t lease_ms;
    int64_t waiting_ms;          /* until it can go on; 0: not known, or not waiting */
    enum run_reason wait_reason; /* NONE: not waiting */
    const char *wait_detail;     /* a sentence; NULL: not waiting */
    bool wait_logged;            /* that it waits was logged now */
    int64_t idle_ms;
    bool progress; /* since the last heartbeat */
    struct run_counts counts;
    /* What came to these since the last heartbeat. */
    int64_t requests;
    int64_t throttled;
    int64_t retries;
};

/* Renews the lease. *cancelled_by: NULL, or who asked for the end (caller frees). */
bool runs_heartbeat(struct db *db, const struct run_task *task,
                    const struct run_heartbeat *heartbeat, char **cancelled_by, struct error *err)
    MUST_USE;

/*
 * Planning starts: notes the server processes that read for it (db_backend), and deletes
 * the local rejections of earlier scans. Done while the caller begins to read: nothing else
 * may be asked of the connection between the two.
 */
enum { PLAN_BACKENDS = 2 };
bool runs_begin_plan_send(struct db *db, const struct run_task *task,
                          const int32_t backends[PLAN_BACKENDS], struct error *err) MUST_USE;
bool runs_begin_plan_await(struct db *db, struct error *err) MUST_USE;

/* Planning is over: the counts are final, no batch is added any more. */
bool runs_end_plan(struct db *db, const struct run_task *task, const struct run_counts *counts,
                   struct error *err) MUST_USE;

struct run_ending {
    enum run_state state; /* SUCCEEDED, FAILED or CANCELLED */
    enum run_reason reason;
    const char *detail; /* a sentence; NULL: none */
};

/* A run that has ended, as it is recorded: its whole life, over all owners. */
struct run_record {
    enum run_state state; /* RUNNING as long as it has not ended */
    struct run_counts counts;
    int64_t accepted, rejected;
    int64_t removed; /* of counts.left: taken off the list */
    int64_t requests, throttled, retries;
    enum run_reason reason; /* this and the next are read by runs_read_ended() only */
    char detail[512];
};

/*
 * Of a run that somebody else has ended, a command or a take: record->state is
 * RUNNING unless this was its last owner.
 */
bool runs_read_ended(struct db *db, const struct run_task *task, struct run_record *record,
                     struct error *err) MUST_USE;

/* record->state is RUNNING where the run cannot end: there are batches to be sent. */
bool runs_end(struct db *db, const struct run_task *task, const struct run_ending *ending,
              struct run_record *record, struct error *err) MUST_USE;

/* Why a run is given back before its end. */
enum run_give_back {
    RUN_DRAINED,  /* the process ends, or the task that it is for: anybody may go on at once */
    RUN_TROUBLED, /* no database or memory: after a pause, as often as it takes */
    RUN_MISTAKEN, /* something of ours is wrong: the same, and it counts as a take in vain */
};

/*
 * Ends the lease: at once when DRAINED, else after a pause of 2 s. ERROR_LOST:
 * it was not ours any more, and nothing was written.
 */
bool runs_give_back(struct db *db, const struct run_task *task, enum run_give_back how,
                    struct error *err) MUST_USE;

struct run_parking {
    int64_t park_ms;   /* until it can go on */
    bool plan_again;   /* by the next owner: what this one planned is not known well enough */
    int64_t idle_ms;   /* of it that counts against the retry budget */
    unsigned attempts; /* in vain, in a row */
    char trouble[256]; /* the last, in words fit for a log; empty: none */
};

/*
 * Gives a run back that has nothing to do for a while: the worker that takes it when
 * the wait is over continues where it is. The lease has just been renewed.
 */
bool runs_park(struct db *db, const struct run_task *task, const struct run_parking *parking,
               struct error *err) MUST_USE;

/*
 * The task's key was refused: the connection needs attention, its queued runs
 * end. *marked: false where the connection has got another key meanwhile.
 */
bool runs_mark_attention(struct db *db, const struct run_task *task, enum run_reason reason,
                         bool *marked, struct error *err) MUST_USE;

/* What Klaviyo calls the run's list; not stored where the export has another one by now. */
bool runs_store_list_name(struct db *db, const struct run_task *task, const char *name,
                          struct error *err) MUST_USE;

#endif
