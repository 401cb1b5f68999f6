#ifndef SIMULATOR_JOB_H
#define SIMULATOR_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "tests/simulator/account.h"
#include "tests/simulator/identity.h"
#include "tests/simulator/import.h"
#include "tests/simulator/index.h"
#include "tests/simulator/list.h"

/*
 * Import jobs.
 *
 *     QUEUED --queued_ms--> PROCESSING --processing_ms--> COMPLETE
 *                               |
 *                               +--> CANCELLED, or stays there (stuck)
 *
 * Time passes when somebody looks: jobs_advance() applies, in order, every job
 * whose end has come, before any other use of the state. A job's rows take
 * effect all at once, at its end; those that fail take none.
 */
enum job_state { JOB_QUEUED, JOB_PROCESSING, JOB_COMPLETE, JOB_CANCELLED };

/* What a fault makes of a job. */
enum job_fate {
    FATE_NORMAL,
    FATE_CANCELLED,
    FATE_STUCK,
    FATE_VANISH,              /* it takes no effect and is not found */
    FATE_FAIL_WITHOUT_ERRORS, /* the first n rows fail, and no error says so */
    FATE_ERRORS_NAMELESS,     /* the first n rows fail with errors that name nobody */
};

struct job_error {
    uint32_t row;
    char uuid[40];
    struct problem problem;
    char *payload; /* the row's attributes, an object */
};

struct job {
    char id[IDENTITY_JOB_BYTES];
    struct account *account;
    struct list *lists[IMPORT_LISTS_MAX];
    size_t n_lists;
    enum job_fate fate;
    uint32_t fate_rows;
    int64_t created_us, starts_us, ends_us;
    size_t total, failed;
    uint32_t *row_profiles; /* per row; PROFILE_NONE: failed, or not applied yet */
    bool *row_failed;
    char **row_emails; /* of rows that took no effect, once applied; NULL: there are none */
    struct job_error *errors;
    size_t errors_cap, n_errors;
    bool applied;
    struct import import; /* until applied */
    char *body;           /* until applied */
};

struct jobs {
    struct job **list; /* in order of creation */
    size_t cap, n;
    struct index by_id;
    struct job **pending;
    size_t pending_cap, n_pending;
};

struct job_plan {
    struct account *account;
    struct list *lists[IMPORT_LISTS_MAX];
    size_t n_lists;
    enum job_fate fate;
    uint32_t fate_rows;
    int64_t now_us, starts_us, ends_us;
};

/* Takes the import and its body (from malloc). Row failures come from import->failures. */
struct job *jobs_add(struct jobs *jobs, const struct job_plan *plan, struct import *import,
                     char *body);

/* A row that fails without an error that would say so. */
void job_fail_silently(struct job *job, uint32_t row);

/* NULL if there is none in that account, or it vanished. */
struct job *jobs_find(const struct jobs *jobs, const struct account *account, const char *id);

/* Without regard to account or fate. */
struct job *jobs_find_any(const struct jobs *jobs, const char *id);

void jobs_advance(struct jobs *jobs, int64_t now_us);

enum job_state job_state(const struct job *job, int64_t now_us);
const char *job_state_name(enum job_state state);

/* The row's e-mail in normal form, "" if it has none; lent. */
const char *job_row_email(const struct job *job, size_t row);

void jobs_release(struct jobs *jobs);

#endif
