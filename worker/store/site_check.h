#ifndef WORKER_STORE_SITE_CHECK_H
#define WORKER_STORE_SITE_CHECK_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * What would keep a run from working, as far as the database can tell: `check`
 * asks. Nothing is written; what is tried is undone. Every error is one
 * sentence: what, why, what to do.
 */

/* Its encoding is UTF8, it is no standby, and transactions may write. */
bool site_check_server(struct db *db, struct error *err) MUST_USE;

/* Its user is a member of one of our roles. */
bool site_check_user(struct db *db, struct error *err) MUST_USE;

/* Its user has the rights of klaviyo_worker, or of the owner of the schema: it may `run`. */
bool site_check_worker(struct db *db, struct error *err) MUST_USE;

/* klaviyo_worker may do with our tables and functions what a run does. */
bool site_check_rights(struct db *db, struct error *err) MUST_USE;

/*
 * The members can be read by klaviyo_worker: the view is there, with its
 * columns and a grant, and where this user may act as klaviyo_worker one row is
 * read as a run reads it. detail: what was done.
 */
enum { SITE_CHECK_DETAIL_BYTES = 160 };
bool site_check_members(struct db *db, char detail[SITE_CHECK_DETAIL_BYTES], struct error *err)
    MUST_USE;

#endif
