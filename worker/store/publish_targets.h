#ifndef WORKER_STORE_PUBLISH_TARGETS_H
#define WORKER_STORE_PUBLISH_TARGETS_H

#include "worker/store/db.h"

/*
 * What to publish: [{"segment", "export"}], export null for all of the segment.
 * Only what the user may: a user who is no administrator gets an event for each export.
 */
bool publish_targets_of_segment(struct db *db, const char *segment, char **json, struct error *err)
    MUST_USE;
bool publish_targets_of_export(struct db *db, const char *name, char **json, struct error *err)
    MUST_USE;

/*
 * Would that export take in an event of the segment (NULL: of any)? ERROR_INPUT: it is paused, it
 * is not there, or the segment is not among its own.
 */
bool publish_targets_check(struct db *db, const char *export, const char *segment,
                           struct error *err) MUST_USE;

#endif
