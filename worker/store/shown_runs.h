#ifndef WORKER_STORE_SHOWN_RUNS_H
#define WORKER_STORE_SHOWN_RUNS_H

/*
 * A query of the runs (run_id) that the status page can show: the newest ones, and as many of
 * those in progress, however many were queued since. Of these first the ones that a worker
 * has, then the ones that are parked, each by age.
 *
 * limit: how many of either, as SQL.
 */
#define SHOWN_RUNS(limit)                                                     \
    "(select n.run_id from klaviyo.run n order by n.run_id desc limit " limit \
    ") union (select g.run_id from klaviyo.run g where g.state = 'running'"   \
    " order by g.parked_until is not null, g.run_id limit " limit ")"

#endif
