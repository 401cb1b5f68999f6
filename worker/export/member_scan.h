#ifndef WORKER_EXPORT_MEMBER_SCAN_H
#define WORKER_EXPORT_MEMBER_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
#include "worker/export/batch.h"
#include "worker/export/mapping.h"
#include "worker/export/member_count.h"
#include "worker/export/selection.h"
#include "worker/export/trial.h"
#include "worker/store/db.h"
#include "worker/store/leavers.h"
#include "worker/store/outbox.h"
#include "worker/store/rejections.h"
#include "worker/store/run_task.h"

/*
 * A scan: once over the members of an export, from the sorted stream into
 * batches. With a writing connection they go into the outbox; without one it
 * only counts, for a preview. Memory is constant: a few batches in the making.
 */

/* Optional observer; called on the scanning thread. */
struct scan_observer {
    void *opaque;
    /* Before the first is read; not where they are many and it would be of no use. */
    void (*counted)(void *opaque, const struct member_count *count);
    void (*planned)(void *opaque);                                  /* a batch is in the outbox */
    bool (*go_on)(void *opaque, const struct selection *selection); /* now and then; false: stop */

    /*
     * NULL, or: each address that the ledger or a member who may be sent has, once, with what the
     * ledger has of it. is_member: such a member has it.
     */
    bool (*address)(void *opaque, const struct member *member, bool is_member, struct error *err);

    /* NULL, or readable as soon as it is to stop, while the server is waited for: scan_stop.h. */
    const int *stop_fd;
};

/* What a batch in the making is for: its rows have this in common. */
enum planned_kind {
    PLANNED_NEW,          /* they come on the list */
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
    struct db *reading;                   /* the members; these three are the scan's to close */
    struct db *remembering;               /* the ledger; the first two are in one snapshot */
    struct db *writing;                   /* NULL: a preview */
    struct mapping *mapping;
    struct selection selection;
    struct strbuf object;
    struct planned planned[PLANNED_KINDS];
    bool is_beginning; /* runs_begin_plan_send() is on its way: set by the owner */
    bool is_writing;   /* a batch is on its way into the outbox */
    struct local_rejections invalid;
    struct leavers left;     /* to be marked */
    struct leavers never_on; /* to be forgotten */
    int64_t batches;
    int64_t body_bytes; /* of all batches */
    int64_t expected;   /* members, as they were counted before; -1: they were not */
    bool over_limit;    /* the run fails (below): the rest is counted only */
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
 * Of a trial: member_scan_read() leaves its rows here, and this writes them, once
 * there is a run (task) and a writing connection.
 */
bool member_scan_write_trial(struct member_scan *scan, struct error *err) MUST_USE;

#endif
