#ifndef WORKER_STORE_EXPORT_VIEW_H
#define WORKER_STORE_EXPORT_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Exports as people see them: JSON, the caller's. What a user may not see is
 * not there. state: active, paused, or stale: its last success (else its last change) is
 * longer ago than is expected of it.
 */
bool export_view_list(struct db *db, char **json, struct error *err) MUST_USE;

/* ERROR_INPUT: there is no such export. */
bool export_view_show(struct db *db, const char *name, char **json, struct error *err) MUST_USE;

#endif
