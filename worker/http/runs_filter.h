#ifndef WORKER_HTTP_RUNS_FILTER_H
#define WORKER_HTTP_RUNS_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/strbuf.h"

/*
 * What /api/runs is asked for: limit, export, state. It picks from the newest
 * runs that the snapshot has, so that no question costs the database anything.
 */
enum { RUNS_FILTER_TEXT_BYTES = 1024, RUNS_FILTER_LIMIT_MAX = 100 };

struct runs_filter {
    char limit[RUNS_FILTER_TEXT_BYTES]; /* as asked; empty: not */
    char export_name[RUNS_FILTER_TEXT_BYTES];
    char state[RUNS_FILTER_TEXT_BYTES];
};

bool runs_filter_is_empty(const struct runs_filter *filter);

/* False: limit is no whole number from 1 to RUNS_FILTER_LIMIT_MAX. */
bool runs_filter_is_good(const struct runs_filter *filter);

/* runs: a JSON array. Appends the array of those that are asked for; false: out of memory. */
bool runs_filter_apply(const struct runs_filter *filter, const char *runs, struct strbuf *out)
    MUST_USE;

#endif
