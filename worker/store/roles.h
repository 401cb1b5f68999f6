#ifndef WORKER_STORE_ROLES_H
#define WORKER_STORE_ROLES_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * The roles that the permissions of the tables are written for. They belong to
 * the server, not to one database, so they may be there already, or be made by
 * a migration of another database at the same moment.
 */
enum roles_outcome {
    ROLES_PRESENT,   /* all were there */
    ROLES_CREATED,   /* those that were missing have been made */
    ROLES_FORBIDDEN, /* some are missing, and this user may not make them */
};

/*
 * Besides the four roles of people and workers, two that own functions; a user
 * who is not a superuser must be a member of these, to give functions to them.
 * *statements: where it is forbidden, what a user who may has to run; the
 * caller frees it. ERROR_INPUT, and nothing was made: this user does not own the
 * schema klaviyo, or may not make it where there is none, and roles would not
 * help.
 */
bool roles_create(struct db *db, enum roles_outcome *outcome, char **statements, struct error *err)
    MUST_USE;

/*
 * The statements, one per line, that let klaviyo_worker and klaviyo_source read what
 * the site has; NULL: they may. The caller frees them.
 */
bool roles_source_grants(struct db *db, char **statements, struct error *err) MUST_USE;

/* ERROR_INPUT names those that are missing. */
bool roles_check(struct db *db, struct error *err) MUST_USE;

#endif
