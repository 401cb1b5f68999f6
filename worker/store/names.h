#ifndef WORKER_STORE_NAMES_H
#define WORKER_STORE_NAMES_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/* Names of what the database user may see, for completion in a shell. */
enum names_kind {
    NAMES_CONNECTIONS,
    NAMES_EXPORTS,
    NAMES_SEGMENTS, /* of exports */
    NAMES_RUNS,     /* numbers, the newest */
};

/* *json: an array of strings, NAMES_MAX at most; the caller's. Errors as in db.h. */
enum { NAMES_MAX = 1000 };
bool names_list(struct db *db, enum names_kind kind, char **json, struct error *err) MUST_USE;

#endif
