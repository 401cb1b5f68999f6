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
 * Deletes what is remembered: {"address", "exports": [{"export", "ledger", "outbox",
 * "rejections", "late_jobs"}], "runs_taken_anew"}; one object for each export that
 * knew it. Administrators only. ERROR_INPUT: the address is blank.
 */
bool persons_forget(struct db *db, const char *address, char **json, struct error *err) MUST_USE;

#endif
