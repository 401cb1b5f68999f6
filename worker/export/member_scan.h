#ifndef WORKER_EXPORT_MEMBER_SCAN_H
#define WORKER_EXPORT_MEMBER_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/batch_writer.h"
#include "worker/export/candidate.h"
#include "worker/export/mapping.h"
#include "worker/export/member_count.h"
#include "worker/export/selection.h"
#include "worker/export/trial.h"
#include "worker/store/db.h"
#include "worker/store/run_task.h"

/*
 * A scan: once over the members of an export, from the sorted stream to its batch writer.
 * Where that has a connection they go into the outbox; without one the scan only counts, for
 * a preview. Memory is constant: a few batches in the making.
 */

/* Optional observer; called on the scanning thread. */
struct scan_observer {
    void *opaque;
    /* Before the first is read; not if they are many and counting would not help. */
    void (*counted)(void *opaque, const struct member_count *count);
    void (*planned)(void *opaque);                                  /* a batch is in the outbox */
    bool (*go_on)(void *opaque, const struct selection *selection); /* now and then; false: stop */

    /*
     * NULL, or: each address that the ledger or a member who may be sent has, once, with what the
     * ledger has of it. is_member: such a member has it.
     */
    bool (*address)(void *opaque, const struct candidate *candidate, bool is_member,
                    struct error *err);

    /* NULL, or readable as soon as it is to stop, while the server is waited for: scan_stop.h. */
    const int *stop_fd;
};

/* The first objects that may be sent, as they would be; the caller's to free. */
enum { SCAN_EXAMPLES = 3 };
struct scan_examples {
    char *object[SCAN_EXAMPLES];
    size_t n;
};

struct member_scan {
    const struct run_task *task;
    const struct scan_observer *observer; /* NULL: nobody */
    struct trial *trial;                  /* not NULL: its rows alone. Lent */
    struct scan_examples *examples;       /* to be filled; NULL: none are wanted */
    struct db *members_db;                /* these two are the scan's to close */
    struct db *ledger_db;                 /* in the snapshot of the members */
    struct mapping *mapping;
    struct selection selection;
    struct strbuf object;
    struct batch_writer writer;
    int64_t expected; /* members, as they were counted before; -1: they were not */
};

/*
 * Task and observer are lent until release; the observer may be NULL. False:
 * out of memory (ERROR_RETRY); release is safe then, too, and closes the
 * connections.
 */
bool member_scan_init(struct member_scan *scan, const struct run_task *task,
                      const struct scan_observer *observer, struct error *err) MUST_USE;
void member_scan_release(struct member_scan *scan);

/*
 * Reads all members. ERROR_INPUT: the site's view cannot be read. ERROR_LOST:
 * the run is another's, or the observer said stop.
 */
bool member_scan_read(struct member_scan *scan, struct error *err) MUST_USE;

/*
 * Of a trial: member_scan_read() leaves its rows with the writer, and this writes them, once
 * the writer has a connection and there is a run. That is lent until release.
 */
bool member_scan_write_trial(struct member_scan *scan, const struct run_task *run,
                             struct error *err) MUST_USE;

#endif
