#ifndef WORKER_STORE_HISTORY_H
#define WORKER_STORE_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Runs as people see them: what is going on, what was, and how to stop one.
 * Each result is JSON for the caller to print and free.
 */
struct history_filter {
    const char *export_name; /* NULL: all */
    const char *state;       /* NULL: all; "waiting" counts as a state of its own */
    int64_t since_s;         /* queued within the last since_s seconds; 0: whenever */
    int64_t limit;
};

/* Newest first. */
bool history_list(struct db *db, const struct history_filter *filter, char **json,
                  struct error *err) MUST_USE;

/* ERROR_INPUT: there is no such run. */
bool history_show(struct db *db, int64_t run_id, char **json, struct error *err) MUST_USE;
bool history_rejections(struct db *db, int64_t run_id, char **json, struct error *err) MUST_USE;

/*
 * What the ends of runs depend on: {run: outlook}, an outlook as klaviyo.outlooks() has it;
 * null for a run that does not go on.
 */
bool history_outlooks(struct db *db, const int64_t *run_ids, size_t n, char **json,
                      struct error *err) MUST_USE;

/*
 * How many rows a second the export's last runs that sent some have brought to
 * their end, reading included. 0: there is none.
 */
bool history_pace(struct db *db, const char *export_name, double *rows_per_second,
                  struct error *err) MUST_USE;

/* A run of the export is in progress, or one has ended within the last ms milliseconds. */
bool history_ran_within(struct db *db, const char *export_name, int64_t ms, bool *ran,
                        struct error *err) MUST_USE;

/* The run that is worth watching: the newest that is running, else the newest. 0: none. */
bool history_newest(struct db *db, int64_t *run_id, struct error *err) MUST_USE;

enum history_cancel {
    HISTORY_CANCELLED,
    HISTORY_ASKED,        /* its worker learns of it with the next heartbeat */
    HISTORY_ENDED_BEFORE, /* there was nothing to cancel */
};

/*
 * Ends a queued run at once, asks the worker of a running one. ERROR_INPUT:
 * there is no such run, or it is not to be seen; *how is written on success
 * only.
 */
bool history_cancel(struct db *db, int64_t run_id, enum history_cancel *how, struct error *err)
    MUST_USE;

/*
 * The runs that answer an event: {"state", "reason", "runs": […]}. *json is
 * NULL where no worker has taken it in yet.
 */
bool history_follow(struct db *db, const char *source, const char *event_id, char **json,
                    struct error *err) MUST_USE;

#endif
