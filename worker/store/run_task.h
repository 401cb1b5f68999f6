#ifndef WORKER_STORE_RUN_TASK_H
#define WORKER_STORE_RUN_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"
#include "worker/store/guard.h"
#include "worker/store/run_state.h"

/*
 * The task of a run: what its export and its connection say, as they stood when
 * it was taken. It does not change while the run is in progress; a change of the export
 * ends the run.
 */
enum {
    FINGERPRINT_KEY_BYTES = 16, /* crypto_shorthash_KEYBYTES */
    TAKE_ID_BYTES = 37,         /* a UUID as text */
};

/* What a column of the site's view, or a path in one, is in a statement (members.c). */
struct source_value {
    char *value; /* as jsonb */
    char *words; /* as text */
};

struct export_field {
    bool is_property; /* else a standard attribute, "location.city" for a nested one */
    char *name;
    bool is_profile_id; /* filled with the profile's id; else with an attribute of it */
    struct source_value source;
};

/* With what a run that was taken before continues; zeroes where it is new. */
struct run_resume {
    int64_t idle_ms; /* of the retry budget, used by earlier owners */

    /* A run that was parked continues as it was. */
    bool planned;             /* its batches are all in the outbox */
    int64_t members, invalid; /* then: its final counts, as struct run_counts has them */
    int64_t left, there;
    unsigned attempts;           /* in vain, in a row, before it was parked */
    enum run_reason wait_reason; /* why it could not go on; NONE: it was not parked */
    char *trouble;               /* the last before that, in words fit for a log; NULL: none */
    int64_t wait_since_us;       /* UTC */
    int64_t wait_logged_ms;      /* how long ago that was logged */
};

struct run_task {
    int64_t run_id;
    char take_id[TAKE_ID_BYTES]; /* who owns it: see fence.h */
    int32_t epoch;               /* how often it was taken */
    int64_t export_id;
    bool taken_over; /* from a worker that did not renew its lease */
    bool full;
    bool is_trial;          /* its few rows were planned when it was begun */
    bool confirms_removals; /* an event of it did */
    int64_t removed;        /* addresses that it took off the list before */
    int64_t first_batch;
    int64_t max_profiles;
    struct guard_rules guards;
    struct run_resume resume;
    char *email_field; /* as people write it */
    int64_t connection_id;
    bool list_known;          /* its name is stored */
    bool removes_leavers;     /* else they stay on the list */
    bool account_known;       /* which exports share a list is known, too */
    bool email_is_profile_id; /* the address, too, may be it */
    char *export_name;
    char *connection_name;
    char *list_id;
    char *account;     /* whose rate limits count */
    char *traceparent; /* of its newest event; NULL: none */
    unsigned char fingerprint_key[FINGERPRINT_KEY_BYTES];
    unsigned char *sealed_key;
    size_t sealed_key_len;
    struct source_value address;
    struct export_field *fields;
    size_t n_fields;
};

/* Frees the task with all its strings; NULL is accepted. */
void run_task_free(struct run_task *task);
DEFINE_OWNER(run_task)

/*
 * Fills a task whose run_id, take_id, epoch and export_id are set. ERROR_LOST where
 * the run is not owned by that take any more, or its export is gone.
 */
bool run_task_load(struct db *db, struct run_task *task, struct error *err) MUST_USE;

/*
 * The task that a run of the export would have now, for a preview: nothing may
 * be written with it. ERROR_INPUT where there is no such export (or it is not
 * to be seen by this user). The sealed key is left out.
 */
bool run_task_for_preview(struct db *db, const char *export_name, struct run_task **out,
                          struct error *err) MUST_USE;

#endif
