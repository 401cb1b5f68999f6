#ifndef WORKER_EXPORT_BATCH_IMPORT_H
#define WORKER_EXPORT_BATCH_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/effect.h"
#include "worker/klaviyo/import_job.h"
#include "worker/klaviyo/response.h"
#include "worker/klaviyo/verdict.h"
#include "worker/store/late_jobs.h"

enum { BATCH_IMPORT_WHY_BYTES = 96 };

/*
 * The import of one batch (pure):
 *
 *              refused rows out, halves: new batches in the outbox
 *                   ^
 *     outbox --> POST --202--> POLL --ended--> ERRORS --last page--> confirmed
 *                   ^            |   (none failed: straight to confirmed) ^
 *                   +--cancelled-+----------------------------------------+
 *
 * A late job, which an earlier run left behind, is a batch of its own that is
 * polled until it has ended or was waited for long enough.
 *
 * A response may leave an effect that is wanted before anything else of the
 * batch happens; batch_import_performed() says that it was performed.
 */
struct batch_import {
    enum import_step step;
    int64_t late_job_id; /* a job of an earlier run: only polled. Else 0 */
    bool one_look;       /* of such: it was waited for before */
    bool unanswered;     /* an import of it had no response: it may be a job, too */
    bool refused;        /* the last import of it was begun in vain: it is no job */
    struct outbox_batch batch;
    struct pending_request request;
    enum effect_kind wanted;          /* NONE: nothing is to be performed */
    char why[BATCH_IMPORT_WHY_BYTES]; /* of a RESEND */
    bool job_is_over;                 /* the same: the job cannot end any more */
    unsigned resends;                 /* each is due after a longer pause */
    bool waits_for_list;              /* refused without a row named: is the list still there? */

    /* POST and ERRORS: the profile objects, loaded when there is room. */
    struct strbuf body;
    bool loaded;
    struct rows rows;         /* ERRORS, or a SPLIT is wanted */
    struct batch_split split; /* a SPLIT is wanted */

    /* POLL */
    int64_t interval_ms;
    int64_t give_up_ms;
    int64_t watched_ms;                    /* since when */
    bool poll_alone;                       /* not on the page of the newest jobs */
    char odd_status[IMPORT_JOB_ODD_BYTES]; /* as import_job.odd_status, of its last poll */

    /* ERRORS */
    int64_t n_failed; /* as import_job.failed of the ended job */
    struct import_failures failures;
};

/* What holds for all imports of a delivery. */
struct import_rules {
    int64_t poll_interval_min_ms;
    int64_t poll_interval_max_ms;
    int64_t job_budget_ms; /* a job that takes longer is given up */
};

struct import_context {
    const struct import_rules *rules;
    struct request_schedule *schedule;
    int64_t now_ms;
};

/* Takes the batch's job_id; with one it begins with POLL. NULL: out of memory. */
struct batch_import *batch_import_new(struct outbox_batch *batch) MUST_USE;
void batch_import_free(struct batch_import *import);

/* Takes the job's id. NULL: out of memory. */
struct batch_import *batch_import_of_late_job(struct late_job *job) MUST_USE;

/* Begins to poll the job: soon at first, for as long as a job may take. */
void batch_import_watch(struct batch_import *import, const struct import_context *context);

/* What its step asks for; body and strings stay in the import. */
struct request batch_import_request(const struct batch_import *import, const struct strbuf *tail);

/*
 * The body is there. ERROR_FATAL: no batch made it; ERROR_RETRY: out
 * of memory. The same for the two below.
 */
bool batch_import_loaded(struct batch_import *import, struct error *err) MUST_USE;

/* Klaviyo refused the batch: rows that the verdict names are refused, else it is halved. Takes
 * verdict. */
bool batch_import_refused(struct batch_import *import, struct verdict *verdict, struct error *err)
    MUST_USE;

/* A response of use; BATCH_REFUSED is not among them. Takes verdict. */
bool batch_import_response(struct batch_import *import, const struct import_context *context,
                           const struct response *response, struct verdict *verdict,
                           struct error *err) MUST_USE;

/* What a job's state means for its batch. */
void batch_import_job(struct batch_import *import, const struct import_context *context,
                      const struct import_job *job);

/* Time has passed: a late job is not waited for any longer than any other. */
void batch_import_expire(struct batch_import *import, int64_t now_ms);

/* Fills in the wanted effect; not NONE. */
void batch_import_effect(struct batch_import *import, struct effect *effect);

/* The wanted effect was performed. */
void batch_import_performed(struct batch_import *import, const struct import_context *context);

#endif
