#ifndef WORKER_EXPORT_DELIVER_STATE_H
#define WORKER_EXPORT_DELIVER_STATE_H

#include "common/retry.h"
#include "worker/export/deliver.h"
#include "worker/export/lease.h"
#include "worker/export/patience.h"
#include "worker/export/rows.h"
#include "worker/klaviyo/import_job.h"
#include "worker/klaviyo/verdict.h"
#include "worker/store/outbox.h"

/*
 * The inside of a delivery, shared by deliver.c (the loop, and what it minds),
 * parcels.c (what is on its way), dispatch.c (when what is sent), answers.c
 * (what a response means for the run), parcel.c (what it means for its batch) and
 * split.c (batches out of batches).
 */

/* At most so many imports in the air, so many bytes of bodies in memory. */
enum {
    DELIVER_IMPORTS_MAX = 5,
    DELIVER_BODIES_MAX_BYTES = 15 * 1000 * 1000,
};

/* A request to be made, again and again until its response is of use. */
struct errand {
    struct parcel *parcel; /* NULL: the listing of jobs, or the list */
    enum endpoint endpoint;
    bool in_flight;
    int64_t permit_id;
    int64_t due_ms;
    unsigned attempts; /* without use, in a row */
};

enum parcel_step { PARCEL_POST, PARCEL_LOOK, PARCEL_ERRORS, PARCEL_OVER };

struct parcel {
    enum parcel_step step;
    struct outbox_batch batch;
    struct errand errand;
    bool waits_for_list; /* refused without a row named: is the list still there? */

    /* POST and ERRORS: the profile objects, loaded when there is room. */
    struct strbuf body;
    bool loaded;

    /* LOOK */
    int64_t interval_ms;
    int64_t give_up_ms;
    bool look_alone; /* not on the page of the newest jobs */
    int64_t failed;  /* rows, as the ended job says; -1: it does not */

    /* ERRORS */
    struct rows rows;
    bool *named; /* a row each */
    struct outbox_refused refused;
    int64_t strangers; /* errors that name no row of the batch */
    char *next;        /* link to the next page */
    int stale_pages;   /* in a row, without an error that was news */
};

enum list_state { LIST_UNASKED, LIST_WANTED, LIST_THERE };

struct deliver {
    const struct deliver_options *options;
    const struct run_task *task;
    struct db *db;
    struct deliver_result *result;
    bool over;

    struct parcel **parcels;
    size_t n_parcels, cap_parcels;
    bool more_planned; /* the outbox may hold batches that are no parcels yet */
    int64_t plan_batches_seen;
    bool plan_done; /* every batch that there will be is in the outbox */

    struct errand listing; /* of jobs */
    bool no_listing;       /* it is not served, or does not help */
    struct errand list;
    enum list_state list_state;

    struct strbuf tail; /* of every import */
    struct lease lease;
    struct patience patience;
    bool progress; /* since the last heartbeat */
    bool told_waiting;
    int64_t gate_ms[ENDPOINT_COUNT]; /* before which nothing is sent there */
    int64_t key_gate_ms;             /* 0, or when a refused key is tried once more */
    enum endpoint key_refused_at;    /* while key_gate_ms is set */
    int64_t accepted;                /* rows, by this owner */
    struct run_heartbeat sums;       /* requests, throttled, retries since the last heartbeat */
    char last_trouble[VERDICT_TEXT_BYTES];
};

/* The delivery ends; the first end counts. */
void deliver_fail(struct deliver *d, const char *reason, const char *fmt, ...) PRINTF_LIKE(3, 4);
void deliver_let_go(struct deliver *d, const struct error *err);

void deliver_progress(struct deliver *d);

/* The errand was in vain (dispatch.c): it is due again after a while, at least wait_ms. */
void errand_again(struct deliver *d, struct errand *errand, int64_t wait_ms);

/* ---- parcels.c ---- */
void parcels_adopt_jobs(struct deliver *d); /* of an earlier owner, each for the whole time */
void parcels_fetch(struct deliver *d);      /* planned ones, as many as may be in the air */
void parcels_drop_finished(struct deliver *d);
size_t parcels_posting(const struct deliver *d); /* imports in the air */
void parcels_release(struct deliver *d);

/* ---- dispatch.c ---- */
void dispatch_due(struct deliver *d);
void dispatch_close_gate(struct deliver *d, enum endpoint endpoint, int64_t wait_ms);
int64_t dispatch_wait_ms(const struct deliver *d); /* until something is due */

/* ---- answers.c ---- */
void answers_take(struct deliver *d);

/* ---- parcel.c ---- */
struct parcel *parcel_new(struct outbox_batch *batch); /* takes job_id; NULL: no memory */
void parcel_free(struct parcel *parcel);
void parcel_unload(struct parcel *parcel);

/* Has the parcel its body? False: there is no room now, or d is over. */
bool parcel_load(struct deliver *d, struct parcel *parcel);

struct request parcel_request(const struct deliver *d, const struct parcel *parcel);

/* A response of use: what it means for the parcel. */
void parcel_answer(struct deliver *d, struct parcel *parcel, const struct response *response,
                   const struct verdict *verdict);

/* What a job's state means for its parcel. */
void parcel_note_job(struct deliver *d, struct parcel *parcel, const struct import_job *job);

/* ---- split.c ---- */
/* The verdict's rows go out, the rest goes on as one batch. */
void split_strip(struct deliver *d, struct parcel *parcel, const struct verdict *verdict);
/* Two batches of half the rows; a single row is refused with the verdict's words. */
void split_halve(struct deliver *d, struct parcel *parcel, const struct verdict *verdict);

#endif
