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

#endif
