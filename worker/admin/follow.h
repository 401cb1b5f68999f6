#ifndef WORKER_ADMIN_FOLLOW_H
#define WORKER_ADMIN_FOLLOW_H

#include <jansson.h>

#include "worker/cli/command.h"

/*
 * Follows runs to their end, with a line of progress. A database that is
 * unreachable for a while is waited for.
 *
 * read_runs() reads the state: *runs is an array of runs (given to the caller), *over
 * whether nothing more will happen.
 */
struct follow {
    bool (*read_runs)(void *opaque, struct db *db, json_t **runs, bool *over, struct error *err);
    void *opaque;
};

/* False, with the reason, unless every run has succeeded. */
bool follow_to_the_end(struct context *context, const struct follow *follow, struct error *err)
    MUST_USE;

#endif
