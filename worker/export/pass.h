#ifndef WORKER_EXPORT_PASS_H
#define WORKER_EXPORT_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/batch.h"
#include "worker/export/mapping.h"
#include "worker/export/selection.h"
#include "worker/store/db.h"
#include "worker/store/outbox.h"
#include "worker/store/run_task.h"

/*
 * A pass: once over the members of an export, from the sorted stream into
 * batches. With a writing connection they go into the outbox; without one it
 * only counts, for a preview. Memory is constant: two batches in the making.
 */

/* Whoever wants to know how it goes; called on the pass's thread. */
struct pass_watch {
    void *world;
    void (*counted)(void *world, int64_t members);               /* before the first one is read */
    void (*planned)(void *world);                                /* a batch is in the outbox */
    bool (*go_on)(void *world, const struct run_counts *counts); /* now and then; false: stop */
};

/* A batch in the making and its rows. */
struct planned {
    struct batch batch;
    struct outbox_rows rows;
};

struct pass {
    const struct run_task *task;
    const struct pass_watch *watch; /* NULL: nobody */
    struct db *reading;             /* these two are the pass's to close */
    struct db *writing;             /* NULL: a preview */
    struct mapping *mapping;
    struct selection selection;
    struct strbuf object;
    struct planned usual;
    struct planned apart; /* rows that Klaviyo refused last time */
    struct outbox_invalid invalid;
    int64_t batches;
    int64_t body_bytes; /* of all batches */
    bool over_limit;    /* more profiles than the export may send: they are counted only */
};

bool pass_init(struct pass *pass, const struct run_task *task, const struct pass_watch *watch,
               struct error *err) MUST_USE;
void pass_release(struct pass *pass);

/*
 * Reads all members. ERROR_INPUT: the site's view cannot be read. ERROR_LOST:
 * the run is another's, or the watch said stop.
 */
bool pass_read(struct pass *pass, struct error *err) MUST_USE;

#endif
