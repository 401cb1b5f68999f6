#ifndef WORKER_STORE_OUTCOMES_H
#define WORKER_STORE_OUTCOMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Outcomes of ended runs that no broker has acknowledged yet: one row for each
 * segment of the run's export, written by the transaction that ended the run. A
 * worker claims rows for a while, sends them, and deletes what was acknowledged;
 * a claim that nobody renewed is over, and another worker sends the row again.
 * Any number of workers may do it at once. All times are the database's.
 */
struct outcome {
    int64_t outcome_id;
    int64_t run_id;
    int64_t epoch; /* of the run's end */
    bool succeeded;
    bool reduced; /* the broker found it too large: data is without its refresh ids */
    char *export_name;
    char *segment_id;
    char *data;        /* JSON; names no address */
    char *traceparent; /* NULL: none */
    char *ended_at;    /* RFC 3339 */
};

struct outcomes {
    struct outcome *items; /* in the order of their writing */
    size_t n;
};

struct outcome_claim {
    int64_t max_rows;
    int64_t max_bytes; /* no further row once their data exceeds it */
    int64_t claim_ms;
};

/*
 * Claims rows that nobody has claimed, the oldest ones first. *claimed is the
 * caller's, to be released; it is written on success only.
 */
bool outcomes_claim(struct db *db, const struct outcome_claim *claim, struct outcomes *claimed,
                    struct error *err) MUST_USE;
void outcomes_release(struct outcomes *outcomes);

/* What became of a claimed row. */
enum outcome_fate {
    OUTCOME_ACKNOWLEDGED, /* by the broker: the row is deleted */
    OUTCOME_RETURNED,     /* not written: anybody's again, at once */
    OUTCOME_TOO_LARGE,    /* the same, and from now on without its refresh ids */
    OUTCOME_PENDING,      /* its claim begins again, for claim_ms */
    OUTCOME_FATES
};

/* fates[i] is what became of the row ids[i]. */
struct outcome_fates {
    const int64_t *ids;
    const enum outcome_fate *fates;
    size_t n;
};

/* All of it in one statement. A row that is gone is no error. */
bool outcomes_settle(struct db *db, const struct outcome_fates *settled, int64_t claim_ms,
                     struct error *err) MUST_USE;

/*
 * Deletes up to a thousand rows whose run ended more than `days` days ago, sent or
 * not. *more: there is more to delete.
 */
bool outcomes_expire(struct db *db, int64_t days, int64_t *deleted, bool *more, struct error *err)
    MUST_USE;

/*
 * The same, of rows whose run ended more than ten minutes ago, if no worker has claimed any row
 * in the last ten minutes: then nobody sends them.
 */
bool outcomes_drop_unwanted(struct db *db, int64_t *deleted, bool *more, struct error *err)
    MUST_USE;

#endif
