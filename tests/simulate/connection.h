#ifndef TESTS_SIMULATE_CONNECTION_H
#define TESTS_SIMULATE_CONNECTION_H

#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "tests/simulate/database.h"
#include "worker/store/db.h"

/*
 * Connections to the simulated database (store/db.h), and the way of a statement: it
 * travels, is done in one moment, and its response travels back. Either way may be cut;
 * where it is the way back, nobody knows that it was done.
 *
 *     if (!statement_arrives(db, err))
 *         return false;
 *     … what it does …
 *     return statement_is_answered(db, err);
 */
struct db;

/* Members and ledger as a snapshot has them. */
struct source_copy {
    struct person people[PEOPLE];
    struct ledger_entry ledger[EXPORTS][PEOPLE];
    bool unfinished[BATCHES_MAX + 1], posted[BATCHES_MAX + 1];
};

bool statement_arrives(struct db *db, struct error *err) MUST_USE;
bool statement_is_answered(struct db *db, struct error *err) MUST_USE;

/* The same for a write that the run's take owns no more: ERROR_LOST, after its travels. */
bool statement_is_refused(struct db *db, struct error *err);

/* Of the snapshot that is open. */
const struct source_copy *connection_snapshot(const struct db *db);

/* What was sent and is awaited later, as outbox_plan_begin() does; freed with the connection. */
void **connection_pending(struct db *db);

/* Faults: connections that break, so many in a thousand statements; a server that is away. */
void connections_begin(void);
void connections_break(int permille);
void connections_are_away(int64_t ms);

/* Wakes who listens. */
void connections_notify(void);

#endif
