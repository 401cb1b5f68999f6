#ifndef WORKER_STORE_SEGMENTS_H
#define WORKER_STORE_SEGMENTS_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Upstream's segments as people who make exports see them: names, counts, and
 * what the members' attributes are called, no value of any. JSON, the caller's.
 * ERROR_INPUT where the site's relations cannot be read; the text has the
 * SQLSTATE.
 */

/* [{"segment", "name", "members"}] */
bool segments_list(struct db *db, char **json, struct error *err) MUST_USE;

/*
 * {"segment", "members", "looked_at", "fields": [{"field", "types", "present",
 * "share", "addresses"}]}; NULL: there is no such segment.
 */
bool segments_fields(struct db *db, const char *segment, char **json, struct error *err) MUST_USE;

/* ["…"], of insights.segment alone: quick. */
bool segments_names(struct db *db, char **json, struct error *err) MUST_USE;

#endif
