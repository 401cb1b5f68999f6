#ifndef WORKER_STORE_PERSONS_H
#define WORKER_STORE_PERSONS_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Persons, by their address: what is remembered about one. The address is looked
 * for as it is compared and sent (klaviyo.address_of()). JSON, the caller's. No
 * error text holds the address.
 */

/*
 * Where the address is: {"address", "exports": [{"export", "connection", "list", "state",
 * "profile_id", "since", "run", "segments", "profiles", "source_error", "rejections"}]}; one
 * object for each export of the caller's that has to do with it (klaviyo.show_member()).
 * Reads the members of all of them. ERROR_INPUT: the address is blank.
 */
bool persons_show(struct db *db, const char *address, char **json, struct error *err) MUST_USE;

/*
 * Deletes what is remembered: {"address", "exports": [{"export", "ledger", "outbox",
 * "rejections", "late_jobs"}], "runs_taken_anew"}; one object for each export that
 * knew it. Administrators only. ERROR_INPUT: the address is blank.
 */
bool persons_forget(struct db *db, const char *address, char **json, struct error *err) MUST_USE;

#endif
