#ifndef WORKER_EXPORT_BATCH_WRITER_H
#define WORKER_EXPORT_BATCH_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/batch.h"
#include "worker/store/db.h"
#include "worker/store/leavers.h"
#include "worker/store/outbox.h"
#include "worker/store/rejections.h"
#include "worker/store/run_task.h"
#include "worker/store/runs.h"

/*
 * A batch writer: writes the results of a scan into the database. Objects are collected into
 * batches; members that are rejected, have left or never were on the list into lists; each
 * is written when it is full, and the rest by finish. Without a connection nothing is written:
 * batches are counted only.
 *
 * One batch is written while the next is made: reading a million members in memory of constant
 * size takes as long as the longer of both, not as both. So the connection may be waiting for
 * an answer between any two calls, and is nobody else's until finish or abandon.
 *
 * A write that is refused is never the source's fault: ERROR_INPUT becomes ERROR_FATAL.
 */

/* What a batch in the making is for: its rows have this in common. */
enum planned_kind {
    PLANNED_NEW,          /* they are put on the list */
    PLANNED_LISTED,       /* they were put on it before: their profiles are updated */
    PLANNED_ISOLATED_NEW, /* the same of rows that Klaviyo refused last time */
    PLANNED_ISOLATED_LISTED,
    PLANNED_KINDS,
};

/* A batch in the making and its rows. */
struct planned {
    bool names_list;
    struct batch batch;
    struct batch_rows rows;
};

struct batch_writer {
    const struct run_task *task;
    void (*planned_one)(void *opaque); /* a batch is in the outbox; NULL: nobody wants to know */
    void *opaque;
    struct db *outbox_db; /* the writer's to close; NULL: a preview, or not yet */
    bool keeps_rows;      /* of batches, for the outbox; else they are counted only */
    bool over_limit;      /* the run fails: batches are counted only */
    struct planned planned[PLANNED_KINDS];
    struct local_rejections invalid;
    struct leavers left;     /* to be marked */
    struct leavers never_on; /* to be forgotten */
    bool is_beginning;       /* runs_begin_plan_send() is on its way */
    bool is_writing;         /* the write of a batch into the outbox is in flight */
    int64_t batches;
    int64_t body_bytes; /* of all batches */
};

/* The task is lent until release, which closes the connection. */
void batch_writer_init(struct batch_writer *writer, const struct run_task *task);
void batch_writer_release(struct batch_writer *writer);

/* Planning starts, as runs_begin_plan_send() has it: the first write waits for that. */
bool batch_writer_begin(struct batch_writer *writer, const int32_t backends[PLAN_BACKENDS],
                        struct error *err) MUST_USE;

/* The object of a member that is sent; row only where rows are kept. Both are copied. */
bool batch_writer_add(struct batch_writer *writer, enum planned_kind kind,
                      const struct strbuf *object, const struct batch_row *row, struct error *err)
    MUST_USE;

/* A member that cannot be sent; code says why. */
bool batch_writer_reject(struct batch_writer *writer, struct bytes address, struct bytes profile_id,
                         const char *code, struct error *err) MUST_USE;

/* A member who left: is taken off the list, if the export does that. */
bool batch_writer_mark(struct batch_writer *writer, struct bytes address, struct error *err)
    MUST_USE;

/* A member who left and never was on the list: the ledger forgets the address. */
bool batch_writer_forget(struct batch_writer *writer, struct bytes address, struct error *err)
    MUST_USE;

/* Writes the rest, and waits until all is written. */
bool batch_writer_finish(struct batch_writer *writer, struct error *err) MUST_USE;

/* After a failure: waits for what is on its way, so that the connection can be used. */
void batch_writer_abandon(struct batch_writer *writer);

#endif
