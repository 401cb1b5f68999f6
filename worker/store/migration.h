#ifndef WORKER_STORE_MIGRATION_H
#define WORKER_STORE_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Migrations: the numbered files under schemas/sql/, embedded at build, applied
 * in order, each in a transaction of its own, forward only.
 *
 * One at a time over all programs (a transaction-level advisory lock), so any
 * number may be started at once: each does only what is still missing.
 */
struct migration_report {
    int32_t applied; /* by this call */
    int32_t version; /* that the database has now */
};

bool migration_apply(struct db *db, struct migration_report *report, struct error *err) MUST_USE;

/*
 * ERROR_INPUT where the database is older than this program. A newer one is
 * fine: workers of two versions run side by side during an upgrade.
 */
bool migration_check(struct db *db, struct error *err) MUST_USE;

#endif
