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
 * One at a time over all programs (a lock on the table of migrations that only
 * the schema's owner can take), so any number may be started at once: each does
 * only what is still missing. After them all rights are set again
 * (schemas/sql/rights.sql), so that a database that was restored without
 * privileges gets them again.
 *
 * A lock that somebody else holds is waited for in steps of 3 s, so that
 * workers do not queue behind us, and for a minute in all: then ERROR_RETRY
 * names the session that holds it.
 */
struct migration_report {
    int32_t applied; /* by this call */
    int32_t version; /* that the database has now */
};

/* Called while others are waited for; who: for people, lent for the call. */
typedef void migration_waiting(const char *who);

/*
 * Applies what is missing, then the rights. *report is written on success only;
 * what was committed before a failure stays, and the next call continues there.
 */
bool migration_apply(struct db *db, migration_waiting *waiting, struct migration_report *report,
                     struct error *err) MUST_USE;

/*
 * ERROR_INPUT where the database is older than this program, or its rights were
 * never set for this version: a migration broke off. A newer one is fine: workers of two versions
 * run side by side during an upgrade.
 */
bool migration_check(struct db *db, struct error *err) MUST_USE;

#endif
