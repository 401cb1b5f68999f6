#ifndef WORKER_STORE_LEDGER_H
#define WORKER_STORE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/copy.h"
#include "worker/store/db.h"
#include "worker/store/run_task.h"

/*
 * The ledger of an export, read as one stream in the order of its addresses (by bytes),
 * in the snapshot of the members' stream and parallel to it. Memory is constant but for the ids
 * of the export's unfinished batches (16 bytes each).
 *
 * Read by its primary key: the first row is there at once, and the member side stays free
 * to be planned in parallel (a full join of both is not: measured 4.6 s instead of 1.9 s
 * until its first row for 1,000,000 members, PostgreSQL 15, 2 cores).
 *
 * With an address of 33 characters a row takes 130 bytes, and 68 in the index. Columns in the
 * best order would save 12, no more than eight of them (a null bitmap of one byte) and a
 * shorter export_id 38, without profile_id and filled 54: measured on 200,000 rows. Each of
 * these is a rewrite of the table, which all runs wait for, so they are as they came.
 */
struct ledger_row {
    struct bytes address;
    bool confirmed;      /* its last batch was */
    bool listed;         /* an earlier batch was confirmed */
    bool rejected;       /* Klaviyo refused it last time */
    bool settled;        /* this run has done with it before */
    bool posted;         /* not confirmed, but an import of it was begun */
    bool removing;       /* a removal of it was begun: it is on the list no more, or may be */
    bool perhaps_listed; /* an earlier batch than its last may have put it on the list */
    bool has_filled;
    uint64_t filled; /* fields that ever had a value as sent: a set, where it is known */
    int64_t fingerprint;
};

struct ledger;

/*
 * The connection is in the members' snapshot (db_join_snapshot), which is its only work
 * until ledger_free() ends it. The task and the connection outlive it. No error of a ledger is
 * ERROR_INPUT: that is the site's view's.
 */
bool ledger_open(struct ledger **out, struct db *db, const struct run_task *task, struct error *err)
    MUST_USE;
void ledger_free(struct ledger *ledger);
DEFINE_OWNER(ledger)

/* It had no row when it was opened. */
bool ledger_is_empty(const struct ledger *ledger);

enum ledger_next { LEDGER_ROW, LEDGER_END, LEDGER_ERROR };

/* The first call starts the stream. Lends the row until the next call. */
enum ledger_next ledger_next(struct ledger *ledger, struct ledger_row *row, struct error *err)
    MUST_USE;

#endif
