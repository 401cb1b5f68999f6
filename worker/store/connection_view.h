#ifndef WORKER_STORE_CONNECTION_VIEW_H
#define WORKER_STORE_CONNECTION_VIEW_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Connections as people see them: JSON, the caller's. An administrator sees
 * all but the key (whole); a user to whom it was granted sees name, kind, state and
 * how many of the user's own exports use it.
 */
bool connection_view_is_whole(struct db *db, bool *whole, struct error *err) MUST_USE;
bool connection_view_list(struct db *db, bool whole, char **json, struct error *err) MUST_USE;

/* ERROR_INPUT: there is no such connection, or none that the user may see. */
bool connection_view_show(struct db *db, bool whole, const char *name, char **json,
                          struct error *err) MUST_USE;

/* Names of other connections of the account, separated by commas; NULL: none. */
bool connection_view_of_account(struct db *db, const char *account_id, const char *except,
                                char **names, struct error *err) MUST_USE;

#endif
