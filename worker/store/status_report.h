#ifndef WORKER_STORE_STATUS_REPORT_H
#define WORKER_STORE_STATUS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * What the status page shows besides the listings of runs and exports. One JSON
 * object, without an address or a secret:
 *
 *     accounts      [{id, name, connections, share, imports_in_minute, blocked_until,
 *                     plan: {used, maximum, at}}]    plan: null where it was never read
 *     attention     [{name, reason, since}]          connections, newest first
 *     dead_letters  [{segment, reason, exports, at, solved}]   newest first
 *     minutes       [60 numbers]   rows accepted by runs that ended in that minute, oldest first
 *     trends        {export: [[run, state, accepted, seconds], …]}   oldest first
 *     batches       {run: {planned, sent, complete, unresolved}}     runs that go on
 *     timelines     {run: [[from, to, rows, state], …]}   as klaviyo.timeline() has them
 *     outlooks      {run: outlook}   runs that go on, as klaviyo.outlooks() has it
 *
 * The last three are of the runs that the page can show (shown_runs.h).
 *
 * Times are RFC 3339 in UTC. solved: as letter_rule.h has it. trends: without trials.
 */
enum {
    STATUS_REPORT_TREND_RUNS = 20, /* newest ended runs of each export */
    STATUS_REPORT_LETTERS = 20,
    STATUS_REPORT_ATTENTION = 50,
    STATUS_REPORT_ACCOUNTS = 20,
};

/*
 * runs: the limit of shown_runs.h. *json is the caller's. Part of a transaction that the caller
 * began. Errors as in db.h.
 */
bool status_report_read(struct db *db, int64_t runs, char **json, struct error *err) MUST_USE;

#endif
