#ifndef TESTS_SIMULATE_DATABASE_H
#define TESTS_SIMULATE_DATABASE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/simulate/people.h"
#include "tests/simulate/scale.h"
#include "worker/klaviyo/endpoint.h"
#include "worker/store/events.h"
#include "worker/store/outcomes.h"
#include "worker/store/runs.h"

/*
 * The database: the product's tables as plain arrays, and what the functions in schemas/sql
 * do with them, as naively as can be. store_*.c answer the product's calls with it; each
 * call is one statement, done in one moment.
 *
 * A row's number is its place in its array, from 1. Times are of the one clock.
 */
enum {
    REQUESTS_MAX = 256,
    RUNS_MAX = 192,
    BATCHES_MAX = 600,
    LATE_JOBS_MAX = 256,
    OUTCOMES_MAX = 1024,
    BODY_BYTES = 512,
    TEXT_BYTES = 64,
};

struct request_row {
    int32_t partition;
    int64_t offset, timestamp_ms;
    int event;   /* ce_id; 0: none */
    int segment; /* -1: an invalid event */
    enum event_row_state state;
    int64_t runs[EXPORTS];
    int n_runs;
    int64_t failed_run; /* the first, in the order of the exports; 0: none */
    char exports[TEXT_BYTES];
};

struct run_row {
    int export;
    enum run_state state;
    enum run_reason reason;
    int32_t epoch;
    char take[TAKE_ID_BYTES], last_take[TAKE_ID_BYTES];
    const struct fiber *taker; /* the slot that took it last */
    int64_t lease_until_ms;
    int64_t parked_until_ms; /* 0: not parked */
    bool planned, full, posted, cancelled;
    int32_t plan_epoch, removal_epoch;
    int64_t idle_ms, first_batch, wait_logged_ms;
    unsigned attempts;
    int takes_without_progress;
    enum run_reason wait_reason;
    char trouble[256];
    struct run_counts counts;
    int64_t accepted, rejected, removed;
};

enum batch_state { BATCH_NONE, BATCH_PLANNED, BATCH_SENT, BATCH_COMPLETE, BATCH_UNRESOLVED };

struct outbox_row {
    enum batch_state state;
    int export;
    int64_t run;
    bool names_list;
    int64_t posted_ms;          /* 0: no import of it was begun */
    char poster[TAKE_ID_BYTES]; /* the take that began the last one */
    int posts;                  /* how many were */
    int n_rows;
    int person[ROWS_PER_BATCH];
    char job[TEXT_BYTES];
    char body[BODY_BYTES];
};

struct ledger_entry {
    bool known;
    int64_t fingerprint;
    int64_t batch, rejected_batch; /* 0: none */
    uint64_t filled;
    bool listed, removing, perhaps_listed;
    int64_t left_run;
    int32_t left_epoch;
};

struct late_job_row {
    bool there;
    int export;
    int64_t batch;
    char job[TEXT_BYTES]; /* empty: the response was lost */
    int64_t since_ms;
    bool given_up, names_list;
    unsigned people; /* a set */
};

struct outcome_row {
    bool there;
    int64_t run, epoch;
    int segment;
    int64_t claimed_until_ms;
};

struct export_row {
    int account, list;
    unsigned segments; /* a set */
    bool removes_leavers, paused, list_known;
    int64_t locked_until_ms; /* by somebody: events that need its row are blocked */
};

struct list_claim_row {
    int64_t run; /* 0: none */
    bool begun;  /* its owner was told just now that a removal may go */
};

struct account_row {
    bool needs_attention;
    int key; /* counts up when it is replaced */
    int64_t blocked_until_ms[ENDPOINT_COUNT];
};

struct database {
    struct export_row exports[EXPORTS];
    struct account_row accounts[ACCOUNTS];
    struct list_claim_row claims[ACCOUNTS][LISTS];
    struct request_row requests[REQUESTS_MAX + 1];
    struct run_row runs[RUNS_MAX + 1];
    struct outbox_row batches[BATCHES_MAX + 1];
    struct ledger_entry ledger[EXPORTS][PEOPLE];
    struct late_job_row late_jobs[LATE_JOBS_MAX + 1];
    struct outcome_row outcomes[OUTCOMES_MAX + 1];
    int64_t n_requests, n_runs, n_batches, n_late_jobs, n_outcomes;
};

extern struct database database;

/* Exports, made by dice. */
void database_begin(void);

/* The run, if it is owned by that take; else NULL. */
struct run_row *database_owned(const struct run_task *task);
int64_t database_run_number(const struct run_row *run);
struct outbox_row *database_batch(int64_t batch, const struct run_task *task);

/* An import of it was begun, and it is not over. */
bool database_is_posted(int64_t batch);
int64_t database_new_batch(void);

/* Of the addresses whose last batch it is. job NULL: nobody knows of one. */
void database_keep_late_job(int64_t batch, const char *job, bool given_up);
void database_settle_late_job(struct late_job_row *job);

bool database_knows_job(const char *job);

/* klaviyo.close_run(), with what its triggers do. */
void database_close_run(struct run_row *run, enum run_state state, enum run_reason reason);
void database_settle_request(struct request_row *request);
void database_write_outcomes(struct run_row *run);

/* The record's request has come to its end. */
bool database_has_ended(int32_t partition, int64_t offset, int64_t timestamp_ms);

/* Commands of people. */
void database_pause(int export, bool pause);
void database_cancel(int64_t number);

/* Another run takes people off its list. */
bool database_list_is_claimed(const struct run_row *run);

/* Something ended or was queued: those who listen hear of it. */
void database_notify(void);

/* So many permits in a thousand are refused. */
void rate_limits_begin(int permille);

/* Requests and runs that have not come to their end, and outcomes that were not sent. */
int database_open(void);

#endif
