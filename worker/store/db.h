#ifndef WORKER_STORE_DB_H
#define WORKER_STORE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/secret_source.h"

/*
 * One connection to PostgreSQL, owned by one thread.
 *
 * Calls block, but never for ever: connect time-out, keepalives and TCP user
 * time-out end a connection whose network is dead within seconds. After an
 * error of kind ERROR_RETRY the connection may be broken: db_ready() opens it
 * again, and reads the URL again for it. Statements are parameterised (nothing
 * prepared), and each transaction sets for itself what it needs (transaction.h),
 * so that a pooler may be in between and no default of the site applies.
 *
 * Error kinds: ERROR_RETRY for SQLSTATE classes 08, 40, 53, 57, 58, for 25006,
 * 25P03, 25P04, 55P03, for a standby's 0A000, and failures without one (the
 * connection is gone); ERROR_INPUT for every other one. The text ends with the
 * SQLSTATE, but where a function refused (42501) in words of its own.
 */
struct db;

struct db_options {
    struct secret_source url; /* connection string or URI; "": libpq's own PG* variables */
    const char *name;         /* as PostgreSQL lists it */
    bool service;             /* every failure to connect is ERROR_RETRY, and a standby is one */
    const int *stop_fd;       /* NULL, or a descriptor that ends connecting when it is readable */
};

/* Texts and files of the options are borrowed for as long as the connection lives. */
bool db_open(struct db **out, const struct db_options *options, struct error *err) MUST_USE;

/*
 * Several at the same time, which takes little longer than one. All of them, or none;
 * the first failure is reported.
 */
enum { DB_TOGETHER_MAX = 3 };
bool db_open_together(struct db **const out[], size_t n, const struct db_options *options,
                      struct error *err) MUST_USE;
void db_free(struct db *db);
DEFINE_OWNER(db)

/*
 * How long later statements may wait for another session's lock (0: for ever; at
 * first DB_LOCK_TIMEOUT_MS), and for the server's response as a whole (0: for ever,
 * as at first). A connection whose response did not come in time is closed.
 */
enum { DB_LOCK_TIMEOUT_MS = 30 * 1000 };
void db_set_lock_timeout(struct db *db, int64_t ms);
void db_set_response_timeout(struct db *db, int64_t ms);

/*
 * Opens the connection again where it is broken, or leads to a server that takes no writes:
 * to be called before each piece of work.
 */
bool db_ready(struct db *db, struct error *err) MUST_USE;

/* The SQLSTATE of the last statement that failed; "" where it had none. Lent until the next one. */
const char *db_sqlstate(const struct db *db);

/* That statement met another session's lock for longer than it may wait. */
bool db_was_blocked(const struct db *db);

/* That statement was cancelled, at its time-out or by somebody; the connection is good. */
bool db_was_cancelled(const struct db *db);

/* True while the connection is believed to be good; asks nobody. */
bool db_is_up(const struct db *db);

/*
 * Notifications of one channel. After db_listen() the socket becomes readable when one came;
 * db_notified() reads what is there, without waiting, and says whether any
 * was. db_socket() is -1 while the connection is down.
 */
#define DB_CHANNEL_RUNS "klaviyo_worker"
#define DB_CHANNEL_TASKS "klaviyo_task"
bool db_listen(struct db *db, const char *channel, struct error *err) MUST_USE;
int db_socket(const struct db *db);
bool db_notified(struct db *db);

/* The server process of the transaction that is open, for runs to name it. */
bool db_backend(struct db *db, int32_t *backend, struct error *err) MUST_USE;

/*
 * Asks the server to end the statement that another thread's connection runs. Waits for
 * nothing: libpq has no time-out for such a request, and a server that stands still would
 * hold up the thread that is to stop. While a request is in flight no other is made.
 */
struct db_canceller;
struct db_canceller *db_canceller_new(const struct db *db) MUST_USE;
void db_canceller_fire(struct db_canceller *canceller);
void db_canceller_free(struct db_canceller *canceller);
DEFINE_OWNER(db_canceller)

/*
 * Transactions of several statements; a single statement needs none. Those of the
 * second kind only read, all of it one snapshot, and no time-out ends them. A snapshot
 * that is exported can be joined by others as long as its transaction is open; where it
 * is gone that is ERROR_RETRY.
 */
enum { SNAPSHOT_BYTES = 64 };
bool db_begin(struct db *db, struct error *err) MUST_USE;
bool db_begin_snapshot(struct db *db, struct error *err) MUST_USE;
bool db_export_snapshot(struct db *db, char snapshot[SNAPSHOT_BYTES], struct error *err) MUST_USE;
bool db_join_snapshot(struct db *db, const char *snapshot, struct error *err) MUST_USE;
bool db_commit(struct db *db, struct error *err) MUST_USE;
bool db_savepoint(struct db *db, struct error *err) MUST_USE;
void db_undo_to_savepoint(struct db *db); /* what failed since then has not */
void db_rollback(struct db *db);          /* after a failure; else the connection is closed */

/* "15.9", of the server; text has room for 64 bytes. And of libpq. */
bool db_server_version(struct db *db, char *text, struct error *err) MUST_USE;
const char *store_library_version(void);

#endif
