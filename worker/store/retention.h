#ifndef WORKER_STORE_RETENTION_H
#define WORKER_STORE_RETENTION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Retention: deletes ended requests, and ended runs with their rejections, once
 * they are older than the given days. The ledger and unfinished batches stay:
 * they say what is in Klaviyo, however long ago it was sent.
 *
 * One call deletes a bounded number, so that it never holds locks for long.
 * *more: there may be others. Any number of workers may call it at once.
 */
bool retention_apply(struct db *db, int64_t days, bool *more, struct error *err) MUST_USE;

#endif
