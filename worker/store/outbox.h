#ifndef WORKER_STORE_OUTBOX_H
#define WORKER_STORE_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/store/batch_rows.h"
#include "worker/store/db.h"
#include "worker/store/rejections.h"
#include "worker/store/runs.h"

/*
 * The outbox: the batches of a run, and with them the ledger, which says for
 * each address what was sent last and in which batch.
 *
 *     planned ---> sent (job) ---> complete | unresolved
 *        ^           |
 *        +-----------+   the job failed: its rows are sent again
 *
 * Each write is one statement and one commit, fenced by the run's take
 * (ERROR_LOST where it is no longer ours).
 */

struct outbox_plan {
    bool names_list; /* its rows come on the list; else their profiles are brought up to date */
    const struct strbuf *body;
};

/*
 * A batch, its ledger rows and its body, written while the caller makes the next one: nothing
 * else may be asked of the connection between the two. begin closes the arrays of rows, and
 * needs nothing of the caller's afterwards. ERROR_RETRY also where the ledger has a row of an
 * address that was not known: it must be read again.
 */
bool outbox_plan_begin(struct db *db, const struct run_task *task, struct batch_rows *rows,
                       const struct outbox_plan *plan, struct error *err) MUST_USE;
bool outbox_plan_end(struct db *db, struct error *err) MUST_USE;

struct outbox_batch {
    int64_t batch_id;
    int32_t rows;
    int64_t bytes; /* of the body */
    bool names_list;
    char *job_id; /* NULL while planned */
    bool posted;  /* planned, and an import of it was begun: by an earlier owner, where it is new to
                     the caller */
};

/* Owns them; zeroes are none. */
struct outbox_batches {
    struct outbox_batch *items;
    size_t n;
};

/* Frees the batches with their strings; there are none then. */
void outbox_batches_release(struct outbox_batches *batches);

/* Which planned batches the caller wants. */
struct outbox_window {
    const int64_t *held; /* not these, it has them already */
    size_t n_held;
    int64_t max;
};

/* Planned batches, oldest first. *batches is the caller's to release. */
bool outbox_planned(struct db *db, const struct run_task *task, const struct outbox_window *window,
                    struct outbox_batches *batches, struct error *err) MUST_USE;

/* Every batch that an earlier owner of the run had sent; the caller's, too. */
bool outbox_sent(struct db *db, const struct run_task *task, struct outbox_batches *batches,
                 struct error *err) MUST_USE;

/* Appends the body to `body`; ERROR_LOST where the batch is gone, or is not the run's. */
bool outbox_body(struct db *db, const struct run_task *task, int64_t batch_id, struct strbuf *body,
                 struct error *err) MUST_USE;

/* An import of it is about to begin. */
bool outbox_mark_posted(struct db *db, const struct run_task *task, int64_t batch_id,
                        struct error *err) MUST_USE;

/* Klaviyo refused each import that was begun: there is no job of it. */
bool outbox_mark_unposted(struct db *db, const struct run_task *task, int64_t batch_id,
                          struct error *err) MUST_USE;

struct outbox_job {
    const char *job_id;
    bool unanswered; /* an import before had no response: it may be a job, too (late_jobs.h) */
};

/* Klaviyo made a job of it. */
bool outbox_mark_sent(struct db *db, const struct run_task *task, int64_t batch_id,
                      const struct outbox_job *job, struct error *err) MUST_USE;

/*
 * The job failed: planned again, the same bytes. late_job: the id of the
 * job where it may end after all; NULL where it cannot.
 */
bool outbox_send_again(struct db *db, const struct run_task *task, int64_t batch_id,
                       const char *late_job, struct error *err) MUST_USE;

/*
 * The job has ended: refused rows are rejected, the rest is confirmed, the body
 * goes. Where some are unidentified, no row is confirmed (unresolved): all rows
 * but the named ones are sent again by the next run.
 */
bool outbox_confirm(struct db *db, const struct run_task *task, int64_t batch_id,
                    struct refused_rows *refused, struct error *err) MUST_USE;

/*
 * Turns a batch into others. A row, in the order of the body, continues in part 1
 * or 2, or is refused (0) with code and detail. The bodies are cut out of the
 * old one by the server.
 */
struct outbox_split_row {
    struct bytes address;
    size_t offset; /* of the object in the body */
    size_t len;
    int64_t part;
    const char *code; /* of a refused one; else NULL */
    const char *detail;
};

struct outbox_split {
    int64_t batch_id;
    bool unanswered; /* an import of it had no response: it may be a job, too (late_jobs.h) */
    struct strbuf addresses;
    struct strbuf parts;
    struct strbuf offsets;
    struct strbuf lengths;
    struct strbuf codes;
    struct strbuf details;
};

/*
 * As batch_rows; add takes the rows in the order of the body and copies their
 * texts. outbox_split() replaces the batch in one commit: ERROR_LOST where the
 * run or the batch is no longer ours, and nothing is written then.
 */
void outbox_split_init(struct outbox_split *split, int64_t batch_id);
void outbox_split_release(struct outbox_split *split);
void outbox_split_add(struct outbox_split *split, const struct outbox_split_row *row);
bool outbox_split(struct db *db, const struct run_task *task, struct outbox_split *split,
                  struct error *err) MUST_USE;

#endif
