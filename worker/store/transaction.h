#ifndef WORKER_STORE_TRANSACTION_H
#define WORKER_STORE_TRANSACTION_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/store/statement.h"

/*
 * Transactions that depend on no default of the site's.
 *
 * A database, a role or a pooler may set any isolation level, time-out or format as
 * the default. So each transaction says what it is and sets the rest for itself
 * alone (set_config with is_local), which holds behind a pooler in transaction mode,
 * too. The statements around one of ours travel with it in a pipeline: it remains
 * one round trip, and no lock is held while the server waits for us.
 *
 * A large statement is sent when the transaction has begun: behind a pooler whose
 * connections are all in use it would fill the socket and run into the TCP user
 * time-out.
 */
enum transaction_kind {
    TRANSACTION_WRITE,    /* read committed */
    TRANSACTION_SNAPSHOT, /* repeatable read, reads only, without a time-out */
};

struct transaction_terms {
    bool read_write; /* false on a standby: listings work, writes fail with 25006 */
    int64_t lock_timeout_ms;
    int64_t response_timeout_ms; /* 0: none; then the connection is closed */
    bool timed_out;              /* written: a response did not come in time */
};

/*
 * NULL: it has begun. Otherwise the failure's result, which the caller clears. snapshot:
 * NULL, or the name of another transaction's, which it joins. Not within one that was begun.
 */
PGresult *transaction_begin(PGconn *conn, enum transaction_kind kind, const char *snapshot,
                            struct transaction_terms *terms) MUST_USE;

/*
 * One statement in a transaction of its own: its result, or that of what failed,
 * also of the commit. NULL: out of memory or no connection. The caller clears it.
 */
PGresult *transaction_run(PGconn *conn, struct transaction_terms *terms, const char *sql,
                          const struct args *args, int binary) MUST_USE;

/*
 * The same in two parts, for a large statement whose response is not waited for at once.
 * send: NULL, or the failure's result. Nothing else may be asked of the connection until
 * collect, which returns what run would. In a transaction that was begun the statement is
 * one of it: what continue would return.
 */
PGresult *transaction_send(PGconn *conn, struct transaction_terms *terms, const char *sql,
                           const struct args *args) MUST_USE;
PGresult *transaction_collect(PGconn *conn, struct transaction_terms *terms) MUST_USE;

/* One statement of a transaction that was begun. */
PGresult *transaction_continue(PGconn *conn, struct transaction_terms *terms, const char *sql,
                               const struct args *args, int binary) MUST_USE;

/*
 * COPY … TO STDOUT, in a transaction that was begun: its first result, which the caller
 * clears, is PGRES_COPY_OUT; then message by message, as PQgetCopyData() gives them (the
 * caller frees them with PQfreemem(); -1: there is none any more); then its last result.
 * NULL: no memory or no connection. There is no time-out but the end of the process.
 */
PGresult *transaction_copy_start(PGconn *conn, const char *sql) MUST_USE;
int transaction_copy_next(PGconn *conn, char **message) MUST_USE;
PGresult *transaction_copy_end(PGconn *conn) MUST_USE;

/* One statement without arguments that may take as long, in a transaction that was begun. */
PGresult *transaction_ask(PGconn *conn, const char *sql) MUST_USE;

#endif
