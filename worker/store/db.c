#include "worker/store/db.h"

#include <stdlib.h>

#include "worker/store/statement.h"

enum { TRIES_MAX = 5 /* of a statement that was undone for another's sake */ };

struct db {
    PGconn *conn;
    bool listening;
    char sqlstate[6]; /* of the last statement that failed */
};

/* The first line of libpq's words; values of rows never stand in it. */
static void add_reason(struct strbuf *text, const char *message)
{
    strbuf_add(text, message, strcspn(message, "\n"));
}

static bool is_transient(const char *sqlstate)
{
    static const char *const classes[] = { "08", "40", "53", "57", "58" };
    static const char *const states[] = { "25006", "25P03", "55P03" };

    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (strncmp(sqlstate, classes[i], 2) == 0)
            return true;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(sqlstate, states[i]) == 0)
            return true;
    return false;
}

bool db_failure_without_words(const PGresult *rows, const char *what, struct error *err)
{
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    return error_set(err, is_transient(sqlstate) ? ERROR_RETRY : ERROR_INPUT, "%s (SQLSTATE %s)",
                     what, sqlstate);
}

bool db_failure(struct db *db, const PGresult *rows, const char *what, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(1024);
    const char *sqlstate = rows ? PQresultErrorField(rows, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = rows ? PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY) : NULL;

    /* The primary message only, and not of class 22: the rest quotes values of rows. */
    if (sqlstate && strncmp(sqlstate, "22", 2) == 0)
        return db_failure_without_words(rows, what, err);
    add_reason(&text, primary ? primary : PQerrorMessage(db->conn));
    const char *why = text.data ? text.data : "no reason given";
    if (!sqlstate)
        return error_set(err, ERROR_RETRY, "%s: PostgreSQL is not reachable: %s", what, why);
    return error_set(err, is_transient(sqlstate) ? ERROR_RETRY : ERROR_INPUT,
                     "%s: %s (SQLSTATE %s)", what, why, sqlstate);
}

/* What the site says in its connection string wins over these: it comes later. */
static PGconn *connect_to(const char *url, const char *name)
{
    const char *keywords[16] = { "application_name", "client_encoding",     "connect_timeout",
                                 "keepalives_idle",  "keepalives_interval", "keepalives_count",
                                 "tcp_user_timeout" };
    const char *values[16] = { name, "UTF8", "5", "3", "1", "3", "5000" };

    if (*url) {
        keywords[7] = "dbname";
        values[7] = url;
    }
    return PQconnectdbParams(keywords, values, 1);
}

static void ignore_notice(void *unused, const PGresult *result)
{
    (void)unused;
    (void)result;
}

static bool connection_failure(PGconn *conn, struct error *err)
{
    CLEANUP(strbuf_release) struct strbuf text = STRBUF_INIT(1024);

    add_reason(&text, PQerrorMessage(conn));
    return error_set(err, ERROR_RETRY,
                     "cannot connect to PostgreSQL: %s: check DATABASE_URL and the server",
                     text.data ? text.data : "no reason given");
}

bool db_open(struct db **out, const char *url, const char *name, struct error *err)
{
    CLEANUP(db_freep) struct db *db = calloc(1, sizeof *db);
    if (!db)
        return error_no_memory(err);

    db->conn = connect_to(url, name);
    if (!db->conn)
        return error_no_memory(err);
    if (PQstatus(db->conn) != CONNECTION_OK)
        return connection_failure(db->conn, err);
    (void)PQsetNoticeReceiver(db->conn, ignore_notice, NULL);

    *out = db_take(&db);
    return true;
}

void db_free(struct db *db)
{
    if (!db)
        return;
    PQfinish(db->conn);
    free(db);
}

bool db_ready(struct db *db, struct error *err)
{
    if (PQstatus(db->conn) == CONNECTION_OK) {
        if (PQtransactionStatus(db->conn) == PQTRANS_IDLE)
            return true;
        db_rollback(db);
        if (PQtransactionStatus(db->conn) == PQTRANS_IDLE)
            return true;
    }
    PQreset(db->conn);
    if (PQstatus(db->conn) != CONNECTION_OK)
        return connection_failure(db->conn, err);
    return !db->listening || db_listen(db, err);
}

bool db_is_up(const struct db *db)
{
    return PQstatus(db->conn) == CONNECTION_OK;
}

bool db_listen(struct db *db, struct error *err)
{
    db->listening = true;
    return db_query(db, "listen klaviyo_worker", NULL, NULL, err);
}

const char *db_sqlstate(const struct db *db)
{
    return db->sqlstate;
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

struct db_canceller {
    PGcancel *cancel;
};

/* Made by the connection's owner, fired by another thread. */
struct db_canceller *db_canceller_new(const struct db *db)
{
    struct db_canceller *canceller = calloc(1, sizeof *canceller);

    if (canceller)
        canceller->cancel = PQgetCancel(db->conn);
    return canceller;
}

void db_canceller_fire(const struct db_canceller *canceller)
{
    char why[256];

    /* Best effort: a statement that goes on is fenced. */
    (void)PQcancel(canceller->cancel, why, sizeof why);
}

void db_canceller_free(struct db_canceller *canceller)
{
    if (!canceller)
        return;
    PQfreeCancel(canceller->cancel); /* accepts NULL */
    free(canceller);
}

bool db_begin(struct db *db, struct error *err)
{
    return db_query(db, "begin", NULL, NULL, err);
}

bool db_commit(struct db *db, struct error *err)
{
    return db_query(db, "commit", NULL, NULL, err);
}

void db_rollback(struct db *db)
{
    struct error ignored = ERROR_INIT;

    (void)!db_query(db, "rollback", NULL, NULL, &ignored);
}

/* The victim of a deadlock or of a serialization failure (SQLSTATE class 40). */
static bool was_undone(const PGresult *rows)
{
    const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);

    return sqlstate && strncmp(sqlstate, "40", 2) == 0;
}

static bool run_statement(struct db *db, const char *sql, const struct args *args, int binary,
                          PGresult **out, struct error *err)
{
    static const struct args none = { .n = 0 };
    const struct args *a = args ? args : &none;
    bool alone = PQtransactionStatus(db->conn) == PQTRANS_IDLE;
    CLEANUP(result_freep) PGresult *rows = NULL;

    for (int tries = 0; tries == 0 || (alone && tries < TRIES_MAX && was_undone(rows)); tries++) {
        PQclear(rows);
        rows = PQexecParams(db->conn, sql, a->n, NULL, a->values, a->lengths, a->formats, binary);
    }
    ExecStatusType status = PQresultStatus(rows);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_OUT) {
        const char *sqlstate = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
        (void)snprintf(db->sqlstate, sizeof db->sqlstate, "%s", sqlstate ? sqlstate : "");
        return db_failure(db, rows, "a statement failed", err);
    }
    if (out) {
        *out = rows;
        rows = NULL;
    }
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
