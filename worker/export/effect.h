#ifndef WORKER_EXPORT_EFFECT_H
#define WORKER_EXPORT_EFFECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "worker/export/batch_split.h"
#include "worker/export/import_failures.h"
#include "worker/export/request_schedule.h"
#include "worker/export/rows.h"
#include "worker/klaviyo/request.h"
#include "worker/store/leavers.h"
#include "worker/store/outbox.h"
#include "worker/store/run_state.h"

/*
 * Effects: what a delivery wants done.
 *
 * The delivery (pure) hands them out one by one; each is performed, and its
 * result passed to the delivery, before the next one is asked for. The first that
 * fails ends the delivery. Whatever an effect points to is lent until then.
 */
enum effect_kind {
    EFFECT_NONE,
    EFFECT_MARK_SENT,       /* batch_id, job_id, unanswered: Klaviyo made a job of the batch */
    EFFECT_RESEND,          /* batch_id, why: the job failed, the batch is planned again;
                               job_id where the job may end after all, else NULL */
    EFFECT_SETTLE_LATE_JOB, /* late_job_id, job_id: a job of an earlier run has ended */
    EFFECT_LEAVE_LATE_JOB,  /* the same: it did not end in time */
    EFFECT_CONFIRM,         /* batch_id, n_rows, rows and failures (NULL: none failed) */
    EFFECT_SPLIT,           /* batch_id, rows, body, split, unanswered */
    EFFECT_BLOCK_ACCOUNT,   /* endpoint, wait_ms, throttled: Klaviyo said when to come back */
    EFFECT_STORE_LIST_NAME, /* list_name */
    EFFECT_GIVE_UP_LISTING, /* status: jobs are polled one by one from now on */
    EFFECT_KEEP_WORDS,    /* code, detail: Klaviyo's own, for the rejections of a run that fails */
    EFFECT_FETCH_PLANNED, /* held, n_held, max -> result.batches */
    EFFECT_LOAD_BODY,     /* batch_id -> body */
    EFFECT_CLAIM_LIST,    /* -> result.claim: excludes other runs while people are taken off */
    EFFECT_RELEASE_HELD,  /* after, max -> result.last: what another export has there, too, stays */
    EFFECT_FETCH_LEAVERS, /* after, max -> result.leavers: the next that are taken off */
    EFFECT_FORGET_LEAVERS, /* leavers: they are off, but for the kept ones */
    EFFECT_SEND,           /* pending, request: a permit, then the request -> result.sent */
    EFFECT_FAIL,           /* reason, detail, key_refused: the run has failed */
    EFFECT_DONE, /* every batch is confirmed or its rows are rejected; reason and detail, if any */
};

/* "mark_sent", …: for tests. */
const char *effect_name(enum effect_kind kind);

enum {
    /*
     * Imports in flight: one process then has 5 requests unanswered when it dies
     * (contract, guarantee 4).
     */
    DELIVERY_IMPORTS_MAX = 5,
};

enum import_step { IMPORT_POST, IMPORT_POLL, IMPORT_ERRORS, IMPORT_OVER };

struct effect {
    enum effect_kind kind;
    int64_t batch_id;
    int32_t n_rows;
    enum import_step from, to; /* of the batch; equal where the effect is no step of it */

    const char *job_id;
    bool unanswered; /* an import before had no response */
    int64_t late_job_id;
    const char *why;

    const struct rows *rows;
    const struct import_failures *failures;
    const struct batch_split *split;
    struct strbuf *body;

    enum endpoint endpoint;
    int64_t wait_ms;
    bool throttled; /* by a 429, which others have caused */
    const char *list_name;
    int status;

    int64_t held[DELIVERY_IMPORTS_MAX]; /* batches that are not to be fetched */
    size_t n_held;
    int64_t max;

    const char *after; /* NULL: from the first */
    const struct leaver_chunk *leavers;

    struct pending_request *pending;
    struct request request;

    const char *code; /* of an error of Klaviyo */
    enum run_reason reason;
    const char *detail;
    bool key_refused; /* the connection is to be marked */
};

/* How a request came to be sent, or not. */
enum effect_sent {
    EFFECT_SENT,
    EFFECT_NO_PERMIT,   /* the limit is used up for wait_ms */
    EFFECT_NOT_ALLOWED, /* the lease became too short for an import meanwhile */
    EFFECT_NOT_STARTED, /* why */
};

enum { EFFECT_WHY_BYTES = 256 };

struct effect_result {
    struct outbox_batches batches; /* FETCH_PLANNED: taken by the delivery */
    enum list_claim claim;         /* CLAIM_LIST */
    char *last; /* RELEASE_HELD: NULL where there was none; taken by the delivery */
    struct leaver_chunk leavers; /* FETCH_LEAVERS: taken by the delivery */
    enum effect_sent sent;       /* SEND */
    int64_t wait_ms;
    char why[EFFECT_WHY_BYTES];
};

#define EFFECT_RESULT_INIT ((struct effect_result){ .batches = { .n = 0 } })

#endif
