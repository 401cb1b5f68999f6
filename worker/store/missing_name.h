#ifndef WORKER_STORE_MISSING_NAME_H
#define WORKER_STORE_MISSING_NAME_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * The error for a name that is not there, or not to be seen: with the nearest of
 * those that are, or with where to look. Only the modules of store/ include this.
 */
struct missing_name {
    const char *what;      /* "export", "connection" */
    const char *names_sql; /* one column: the names that the user may see */
    const char *advice;    /* where none is near: "export list shows them" */
};

/* ERROR_INPUT; false, always. */
bool missing_name(struct db *db, const struct missing_name *missing, const char *name,
                  struct error *err);

#endif
