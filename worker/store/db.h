#ifndef WORKER_STORE_DB_H
#define WORKER_STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * One connection to PostgreSQL, owned by one thread.
 *
 * Calls block, but never for ever: connect time-out, keepalives and TCP user
 * time-out end a connection whose network is dead within seconds. After an
 * error of kind ERROR_RETRY the connection may be broken: db_ready() opens it
 * again. Statements are parameterised (PQexecParams, nothing prepared) and
 * settings are local to transactions, so that a pooler may stand in between.
 *
 * Error kinds: ERROR_RETRY for SQLSTATE classes 08, 40, 53, 57, 58, for 25006,
 * 25P03, 55P03 and where there is none (the connection is gone); ERROR_INPUT
 * for every other one. The text ends with the SQLSTATE.
 */
struct db;

/* url: connection string or URI, "" for libpq's own variables; name: as PostgreSQL lists it. */
bool db_open(struct db **out, const char *url, const char *name, struct error *err) MUST_USE;
void db_free(struct db *db);
DEFINE_OWNER(db)

/* Opens the connection again where it is broken. */
bool db_ready(struct db *db, struct error *err) MUST_USE;

/* The SQLSTATE of the last statement that failed; "" where it had none. Lent until the next one. */
const char *db_sqlstate(const struct db *db);

/* True while the connection is believed to be good; asks nobody. */
bool db_is_up(const struct db *db);

/*
 * Notifications. After db_listen() the socket becomes readable when one came;
 * db_notified() reads what is there, without waiting, and says whether any
 * was. db_socket() is -1 while the connection is down.
 */
bool db_listen(struct db *db, struct error *err) MUST_USE;
int db_socket(const struct db *db);
bool db_notified(struct db *db);

/* Asks the server to end the statement that another thread's connection runs. */
struct db_canceller;
struct db_canceller *db_canceller_new(const struct db *db) MUST_USE;
void db_canceller_fire(const struct db_canceller *canceller);
void db_canceller_free(struct db_canceller *canceller);
DEFINE_OWNER(db_canceller)

/* Transactions of several statements; a single statement needs none. */
bool db_begin(struct db *db, struct error *err) MUST_USE;
bool db_commit(struct db *db, struct error *err) MUST_USE;
void db_rollback(struct db *db); /* after a failure; asks for nothing back */

/* "15.9", of the server; text has room for 64 bytes. And of libpq. */
bool db_server_version(struct db *db, char *text, struct error *err) MUST_USE;
const char *store_library_version(void);

#endif
