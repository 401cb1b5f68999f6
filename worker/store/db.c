#include "worker/store/db.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "worker/store/db_connect.h"
#include "worker/store/statement.h"
#include "worker/store/transaction.h"

enum { TRIES_MAX = 5 /* of the victim of a deadlock */ };

struct db {
    struct db_options options;
    PGconn *conn;
    struct transaction_terms terms;
    const char *channel; /* that is listened to; NULL: none */
    char sqlstate[6];    /* of the last statement that failed */
    bool read_only;      /* the server refused a write: another one may be the primary by now */
};

/* The first line of libpq's text, which never has values of rows. */
static void add_reason(struct strbuf *text, const char *message)
{
    strbuf_add(text, message, strcspn(message, "\n"));
}

bool db_is_transient(const char *sqlstate)
{
    static const char *const classes[] = { "08", "40", "53", "57", "58" };
    static const char *const states[] = { "25006", "25P03", "25P04", "55P03" };

    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return true;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(sqlstate, states[i]) == 0)
            return true;
    return false;
}

/*
 * The server cannot use its own files: their disk became read-only, or their owner another.
 * The SQLSTATE is that of missing rights (42501) or an internal error (XX000). The function
 * that raised it tells them apart, in whatever language the server speaks.
 */
static bool is_of_files(const PGresult *rows, const char *sqlstate)
{
    static const char *const sources[] = { "buffile.c", "fd.c", "md.c", "slru.c", "xlog.c" };
    const char *source = PQresultErrorField(rows, PG_DIAG_SOURCE_FILE);

    if (!source || (strcmp(sqlstate, "42501") != 0 && strcmp(sqlstate, "XX000") != 0))
        return false;
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++)
        if (strcmp(source, sources[i]) == 0)
            return true;
    return false;
}

/*
 * A standby or a server that is read only. A standby refuses a transaction that is to write when
 * it begins, as a feature that it has not, from where settings are judged.
 */
static bool takes_no_writes(const PGresult *rows, const char *sqlstate)
{
    const char *source = PQresultErrorField(rows, PG_DIAG_SOURCE_FILE);

    return strcmp(sqlstate, "25006") == 0 ||
           (strcmp(sqlstate, "0A000") == 0 && source && strcmp(source, "guc.c") == 0);
}

/* A function of ours refused it by RAISE: who may do it is in that sentence. */
static bool is_refused_in_words(const PGresult *rows, const char *sqlstate)
{
    const char *source = PQresultErrorField(rows, PG_DIAG_SOURCE_FILE);

    return source && strcmp(sqlstate, "42501") == 0 && strcmp(source, "pl_exec.c") == 0;
}

static enum error_kind kind_of(const PGresult *rows, const char *sqlstate)
{
    bool passes =
        db_is_transient(sqlstate) || is_of_files(rows, sqlstate) || takes_no_writes(rows, sqlstate);

    return passes ? ERROR_RETRY : ERROR_INPUT;
}

bool db_failure_without_words(const PGresult *rows, const char *what, struct error *err)
{
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    return error_set(err, kind_of(rows, sqlstate), "%s (SQLSTATE %s)", what, sqlstate);
}

bool db_failure(struct db *db, const PGresult *rows, const char *what, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(1024);
    const char *sqlstate = rows ? PQresultErrorField(rows, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = rows ? PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY) : NULL;

    if (sqlstate && takes_no_writes(rows, sqlstate)) {
        db->read_only = true;
        return error_set(err, ERROR_RETRY,
                         "%s: the database takes no writes, it is a standby or read only: "
                         "DATABASE_URL must lead to the primary (SQLSTATE %s)",
                         what, sqlstate);
    }
    if (!sqlstate && db->terms.timed_out)
        return error_set(
            err, ERROR_RETRY,
            "%s: no response in time: the database is slow, or a pooler in front of it "
            "has no connection free (deploy/sizing.md says how many it takes)",
            what);
    /* The primary message only, and not of class 22: the rest quotes values of rows. */
    if (sqlstate && strncmp(sqlstate, "22", 2) == 0)
        return db_failure_without_words(rows, what, err);
    add_reason(&text, primary ? primary : PQerrorMessage(db->conn));
    const char *why = text.data ? text.data : "no reason given";
    if (!sqlstate)
        return error_set(err, ERROR_RETRY, "%s: PostgreSQL is not reachable: %s", what, why);
    if (is_refused_in_words(rows, sqlstate))
        return error_set(err, ERROR_INPUT, "%s: %s", what, why);
    return error_set(err, kind_of(rows, sqlstate), "%s: %s (SQLSTATE %s)", what, why, sqlstate);
}

static void ignore_notice(void *unused, const PGresult *result)
{
    (void)unused;
    (void)result;
}

/* Where the server says so itself (some poolers keep it back; then the first write shows it). */
static bool is_standby(PGconn *conn)
{
    const char *standby = PQparameterStatus(conn, "in_hot_standby");

    return standby && strcmp(standby, "on") == 0;
}

/* Listings work on a standby; the service, which could not write there, must wait. */
static bool begin_use(struct db *db, struct error *err)
{
    (void)PQsetNoticeReceiver(db->conn, ignore_notice, NULL);
    db->read_only = is_standby(db->conn);
    db->terms.read_write = !db->read_only;
    if (db->read_only && db->options.service)
        return error_set(err, ERROR_RETRY,
                         "the database is a standby, which takes no writes: DATABASE_URL must lead "
                         "to the primary");
    return true;
}

static bool connect_again(struct db *db, struct error *err)
{
    PQfinish(db->conn); /* accepts NULL */
    db->conn = NULL;
    return db_connect(&db->options, &db->conn, 1, err) && begin_use(db, err);
}

static struct db *db_new(const struct db_options *options)
{
    struct db *db = calloc(1, sizeof *db);

    if (!db)
        return NULL;
    db->options = *options;
    db->terms.lock_timeout_ms = DB_LOCK_TIMEOUT_MS;
    return db;
}

static bool open_all(struct db **made, size_t n, const struct db_options *options,
                     struct error *err)
{
    PGconn *conns[DB_TOGETHER_MAX];

    for (size_t i = 0; i < n; i++) {
        made[i] = db_new(options);
        if (!made[i])
            return error_no_memory(err);
    }
    if (!db_connect(options, conns, n, err))
        return false;
    for (size_t i = 0; i < n; i++)
        made[i]->conn = conns[i];
    for (size_t i = 0; i < n; i++)
        if (!begin_use(made[i], err))
            return false;
    return true;
}

bool db_open_together(struct db **const out[], size_t n, const struct db_options *options,
                      struct error *err)
{
    struct db *made[DB_TOGETHER_MAX] = { NULL };
    bool ok = open_all(made, n, options, err);

    for (size_t i = 0; i < n; i++) {
        if (ok)
            *out[i] = made[i];
        else
            db_free(made[i]);
    }
    return ok;
}

bool db_open(struct db **out, const struct db_options *options, struct error *err)
{
    struct db **const outs[] = { out };

    return db_open_together(outs, 1, options, err);
}

void db_free(struct db *db)
{
    if (!db)
        return;
    PQfinish(db->conn);
    free(db);
}

void db_set_lock_timeout(struct db *db, int64_t ms)
{
    db->terms.lock_timeout_ms = ms;
}

void db_set_response_timeout(struct db *db, int64_t ms)
{
    db->terms.response_timeout_ms = ms;
}

bool db_ready(struct db *db, struct error *err)
{
    if (db_is_up(db) && !db->read_only) {
        if (PQtransactionStatus(db->conn) == PQTRANS_IDLE)
            return true;
        db_rollback(db);
        if (PQtransactionStatus(db->conn) == PQTRANS_IDLE)
            return true;
    }
    return connect_again(db, err) && (!db->channel || db_listen(db, db->channel, err));
}

bool db_is_up(const struct db *db)
{
    return PQstatus(db->conn) == CONNECTION_OK;
}

bool db_listen(struct db *db, const char *channel, struct error *err)
{
    char sql[64];

    db->channel = channel;
    (void)snprintf(sql, sizeof sql, "listen %s", channel);
    return db_query(db, sql, NULL, NULL, err);
}

const char *db_sqlstate(const struct db *db)
{
    return db->sqlstate;
}

bool db_was_blocked(const struct db *db)
{
    return strcmp(db->sqlstate, "55P03") == 0;
}

bool db_was_cancelled(const struct db *db)
{
    return db_is_up(db) && strcmp(db->sqlstate, "57014") == 0;
}

int db_socket(const struct db *db)
{
    return db_is_up(db) ? PQsocket(db->conn) : -1;
}

bool db_notified(struct db *db)
{
    bool any = false;

    (void)PQconsumeInput(db->conn); /* a broken connection shows at the next statement */
    for (PGnotify *note = PQnotifies(db->conn); note; note = PQnotifies(db->conn)) {
        any = true;
        PQfreemem(note);
    }
    return any;
}

bool db_backend(struct db *db, int32_t *backend, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, "select pg_backend_pid()", NULL, &rows, err))
        return false;
    *backend = (int32_t)result_int64(rows, 0, 0);
    return true;
}

struct db_canceller {
    PGcancel *cancel;
    atomic_int holders; /* its owner, and a request on its way */
    atomic_flag asking;
};

static void canceller_release(struct db_canceller *canceller)
{
    if (atomic_fetch_sub(&canceller->holders, 1) > 1)
        return;
    PQfreeCancel(canceller->cancel); /* accepts NULL */
    free(canceller);
}

/* Made by the connection's owner, fired by another thread. */
struct db_canceller *db_canceller_new(const struct db *db)
{
    struct db_canceller *canceller = calloc(1, sizeof *canceller);

    if (!canceller)
        return NULL;
    canceller->cancel = PQgetCancel(db->conn);
    atomic_init(&canceller->holders, 1);
    atomic_flag_clear(&canceller->asking);
    return canceller;
}

/* Best effort: a statement that continues is fenced. */
static void *cancel_main(void *argument)
{
    struct db_canceller *canceller = argument;
    char why[256];

    (void)PQcancel(canceller->cancel, why, sizeof why);
    atomic_flag_clear(&canceller->asking);
    canceller_release(canceller);
    return NULL;
}

static bool start_detached(void *(*run)(void *), void *argument)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, argument) != 0)
        return false;
    (void)pthread_detach(thread);
    return true;
}

void db_canceller_fire(struct db_canceller *canceller)
{
    if (!canceller->cancel || atomic_flag_test_and_set(&canceller->asking))
        return;
    (void)atomic_fetch_add(&canceller->holders, 1);
    if (start_detached(cancel_main, canceller))
        return;
    atomic_flag_clear(&canceller->asking);
    canceller_release(canceller);
}

void db_canceller_free(struct db_canceller *canceller)
{
    if (canceller)
        canceller_release(canceller);
}

static bool begin(struct db *db, enum transaction_kind kind, const char *snapshot,
                  struct error *err)
{
    CLEANUP(result_freep)
    PGresult *failed = transaction_begin(db->conn, kind, snapshot, &db->terms);

    return !failed || db_failure(db, failed, "a transaction cannot begin", err);
}

bool db_begin(struct db *db, struct error *err)
{
    return begin(db, TRANSACTION_WRITE, NULL, err);
}

bool db_begin_snapshot(struct db *db, struct error *err)
{
    return begin(db, TRANSACTION_SNAPSHOT, NULL, err);
}

bool db_export_snapshot(struct db *db, char snapshot[SNAPSHOT_BYTES], struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, "select pg_export_snapshot()", NULL, &rows, err))
        return false;
    (void)snprintf(snapshot, SNAPSHOT_BYTES, "%s", result_text(rows, 0, 0));
    return true;
}

bool db_join_snapshot(struct db *db, const char *snapshot, struct error *err)
{
    if (begin(db, TRANSACTION_SNAPSHOT, snapshot, err))
        return true;
    err->kind = ERROR_RETRY; /* whatever it is passes with the next one */
    return false;
}

bool db_savepoint(struct db *db, struct error *err)
{
    return db_query(db, "savepoint here", NULL, NULL, err);
}

void db_undo_to_savepoint(struct db *db)
{
    struct error ignored = ERROR_INIT;

    (void)!db_query(db, "rollback to savepoint here", NULL, NULL, &ignored);
}

bool db_commit(struct db *db, struct error *err)
{
    return db_query(db, "commit", NULL, NULL, err);
}

void db_rollback(struct db *db)
{
    struct error ignored = ERROR_INIT;

    if (PQtransactionStatus(db->conn) == PQTRANS_IDLE ||
        db_query(db, "rollback", NULL, NULL, &ignored))
        return;
    PQfinish(db->conn); /* what comes next would be a part of it */
    db->conn = NULL;
}

/* The victim of a deadlock or of a serialization failure (SQLSTATE class 40). */
static bool was_undone(const PGresult *rows)
{
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    return sqlstate && strncmp(sqlstate, "40", 2) == 0;
}

/* In a transaction of its own. The victim of a deadlock (SQLSTATE class 40) is retried, up to five
 * times. */
static PGresult *run_alone(struct db *db, const char *sql, const struct args *args, int binary)
{
    PGresult *rows = NULL;

    for (int tries = 0; tries == 0 || (tries < TRIES_MAX && was_undone(rows)); tries++) {
        PQclear(rows);
        rows = transaction_run(db->conn, &db->terms, sql, args, binary);
    }
    return rows;
}

static bool failed_statement(struct db *db, const PGresult *rows, struct error *err)
{
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    (void)snprintf(db->sqlstate, sizeof db->sqlstate, "%s", sqlstate ? sqlstate : "");
    return db_failure(db, rows, "a statement failed", err);
}

static bool run_statement(struct db *db, const char *sql, const struct args *args, int binary,
                          PGresult **out, struct error *err)
{
    static const struct args none = { .n = 0 };
    const struct args *a = args ? args : &none;
    CLEANUP(result_freep)
    PGresult *rows = PQtransactionStatus(db->conn) == PQTRANS_IDLE
                         ? run_alone(db, sql, a, binary)
                         : transaction_continue(db->conn, &db->terms, sql, a, binary);
    ExecStatusType status = PQresultStatus(rows);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_OUT)
        return failed_statement(db, rows, err);
    if (out) {
        *out = rows;
        rows = NULL;
    }
    return true;
}

bool db_send(struct db *db, const char *sql, const struct args *args, struct error *err)
{
    CLEANUP(result_freep) PGresult *failed = transaction_send(db->conn, &db->terms, sql, args);

    return !failed || failed_statement(db, failed, err);
}

bool db_await(struct db *db, PGresult **out, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = transaction_collect(db->conn, &db->terms);

    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        return failed_statement(db, rows, err);
    *out = rows;
    rows = NULL;
    return true;
}

bool db_query(struct db *db, const char *sql, const struct args *args, PGresult **out,
              struct error *err)
{
    return run_statement(db, sql, args, 0, out, err);
}

bool db_query_binary(struct db *db, const char *sql, const struct args *args, PGresult **out,
                     struct error *err)
{
    return run_statement(db, sql, args, 1, out, err);
}

PGconn *db_handle(struct db *db)
{
    return db->conn;
}

bool db_server_version(struct db *db, char *text, struct error *err)
{
    CLEANUP(result_freep) PGresult *rows = NULL;

    if (!db_query(db, "show server_version", NULL, &rows, err))
        return false;
    (void)snprintf(text, 64, "%s", result_text(rows, 0, 0));
    return true;
}

const char *store_library_version(void)
{
    static char text[32];
    int version = PQlibVersion();

    (void)snprintf(text, sizeof text, "%d.%d", version / 10000, version % 10000);
    return text;
}
