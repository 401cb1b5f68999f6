#ifndef WORKER_STORE_AUDIT_H
#define WORKER_STORE_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Who did what to which connection or export, and when. The database writes it;
 * here it is only read.
 */
struct audit_filter {
    const char *object; /* "connection", "export", …; NULL: all */
    const char *name;   /* of the object; NULL: all */
    int64_t limit;
};

/* Newest first; JSON, the caller's. */
bool audit_list(struct db *db, const struct audit_filter *filter, char **json, struct error *err)
    MUST_USE;

#endif
