#include "worker/store/transaction.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "worker/store/waiting.h"

enum {
    STATEMENTS_MAX = 4,
    LARGE_BYTES = 16 * 1024, /* more than this need not fit into the socket's buffers */
    LOOK_AGAIN_MS = 1000,    /* poll() does not see bytes that TLS has decrypted already */
};

static const char begin_write_sql[] = "begin isolation level read committed read write";
static const char begin_standby_sql[] = "begin isolation level read committed";
static const char begin_snapshot_sql[] = "begin isolation level repeatable read read only";

/*
 * What else a default may be that would change what a statement of ours means or
 * brings; $1 is the lock time-out. The site's own functions in its view keep their
 * search path, but find no other than PostgreSQL's own in front of PostgreSQL's own.
 * A client that freezes in a transaction of several statements holds its locks for a
 * minute. transaction_timeout is there from PostgreSQL 17 on. A site that waits for
 * standbys to have applied a commit continues to do so.
 */
static const char settings_sql[] =
    "select set_config('lock_timeout', $1, true), set_config('statement_timeout', '0', true),"
    " set_config('idle_in_transaction_session_timeout', $2, true),"
    " case when current_setting('transaction_timeout', true) is not null"
    "      then set_config('transaction_timeout', '0', true) end,"
    " set_config('search_path',"
    "            concat_ws(', ', 'pg_catalog', nullif(current_setting('search_path'), '')), true),"
    " case when current_setting('synchronous_commit') <> 'remote_apply'"
    "      then set_config('synchronous_commit', 'on', true) end,"
    " set_config('row_security', 'on', true), set_config('array_nulls', 'on', true),"
    " set_config('standard_conforming_strings', 'on', true),"
    " set_config('datestyle', 'ISO, MDY', true), set_config('intervalstyle', 'postgres', true),"
    " set_config('timezone', 'UTC', true), set_config('bytea_output', 'hex', true),"
    " set_config('extra_float_digits', '1', true)";

/* One statement of a pipeline. */
struct step {
    const char *sql;
    const struct args *args; /* NULL: none */
    int binary;
};

/* Until when responses are waited for; 0: for ever. */
struct deadline {
    int64_t until_ms;
    bool passed;
};

static struct deadline deadline_of(const struct transaction_terms *terms)
{
    int64_t timeout_ms = terms->response_timeout_ms;

    return (struct deadline){ .until_ms = timeout_ms > 0 ? clock_ms() + timeout_ms : 0 };
}

/* For poll(). 0: the deadline has passed. */
static int left_ms(const struct deadline *deadline)
{
    int64_t left = deadline->until_ms - clock_ms();

    if (deadline->until_ms == 0 || left > LOOK_AGAIN_MS)
        return LOOK_AGAIN_MS;
    return left > 0 ? (int)left : 0;
}

/*
 * More of the server's bytes, up to the deadline, and while the process waits at all; then
 * the connection is of no use, as nobody knows what becomes of the statement. False: it is not.
 */
static bool wait_for_bytes(PGconn *conn, struct deadline *deadline)
{
    struct pollfd fds[] = { { .fd = PQsocket(conn), .events = POLLIN },
                            { .fd = waiting_fd(), .events = POLLIN } };

    deadline->passed = left_ms(deadline) == 0;
    if (!deadline->passed)
        (void)poll(fds, 2, left_ms(deadline));
    if (deadline->passed || fds[1].revents) {
        (void)shutdown(PQsocket(conn), SHUT_RDWR);
        return false;
    }
    return PQconsumeInput(conn);
}

static void wait_for_result(PGconn *conn, struct deadline *deadline)
{
    while (PQisBusy(conn) && PQstatus(conn) == CONNECTION_OK)
        if (!wait_for_bytes(conn, deadline))
            return;
}

static PGresult *next_result(PGconn *conn, struct deadline *deadline)
{
    wait_for_result(conn, deadline);
    return PQgetResult(conn);
}

static bool send_steps(PGconn *conn, const struct step *steps, size_t n)
{
    if (!PQenterPipelineMode(conn))
        return false;
    for (size_t i = 0; i < n; i++) {
        static const struct args none = { .n = 0 };
        const struct args *a = steps[i].args ? steps[i].args : &none;
        if (!PQsendQueryParams(conn, steps[i].sql, a->n, NULL, a->values, a->lengths, a->formats,
                               steps[i].binary))
            return false;
    }
    return PQpipelineSync(conn);
}

static bool has_failed(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
}

/*
 * The first failure, else the result of the wanted step; the others are cleared. A step
 * without a result is a failure: whether the commit happened is not known.
 */
static PGresult *collect(PGconn *conn, size_t n, size_t wanted, struct deadline *deadline)
{
    PGresult *kept = NULL;
    size_t answered = 0;

    for (size_t i = 0; i < n && PQstatus(conn) == CONNECTION_OK; i++) {
        PGresult *result = next_result(conn, deadline);
        bool replaces = i == wanted || (result && has_failed(result));
        if (kept && has_failed(kept))
            replaces = false;
        PQclear(replaces ? kept : result);
        if (replaces)
            kept = result;
        if (!result)
            break;
        answered++;
        PQclear(PQgetResult(conn)); /* NULL: the end of this step */
    }
    if (PQstatus(conn) == CONNECTION_OK)
        PQclear(next_result(conn, deadline)); /* of the synchronisation */
    if (!kept || answered == n || has_failed(kept))
        return kept;
    PQclear(kept);
    return PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
}

/*
 * What was sent or answered in part would be taken for a part of the next transaction, or
 * be waited for without an end: the connection is useless.
 */
static void end_pipeline(PGconn *conn)
{
    if (PQexitPipelineMode(conn))
        return;
    (void)shutdown(PQsocket(conn), SHUT_RDWR);
    while (PQstatus(conn) == CONNECTION_OK && PQconsumeInput(conn))
        ;
}

static PGresult *collect_steps(PGconn *conn, struct transaction_terms *terms, size_t n,
                               size_t wanted)
{
    struct deadline deadline = deadline_of(terms);
    PGresult *result = collect(conn, n, wanted, &deadline);

    end_pipeline(conn);
    terms->timed_out = deadline.passed;
    return result;
}

/* NULL: nothing could be sent, or the connection is gone. */
static PGresult *run_steps(PGconn *conn, struct transaction_terms *terms, const struct step *steps,
                           size_t n, size_t wanted)
{
    if (send_steps(conn, steps, n))
        return collect_steps(conn, terms, n, wanted);
    end_pipeline(conn);
    terms->timed_out = false;
    return NULL;
}

/* Where a result was lost the server may have gone on: nothing is left open. */
static void roll_back(PGconn *conn)
{
    PGTransactionStatusType status = PQtransactionStatus(conn);

    if (status == PQTRANS_INERROR || status == PQTRANS_INTRANS)
        PQclear(PQexec(conn, "rollback"));
}

static const char *begin_sql(enum transaction_kind kind, const struct transaction_terms *terms)
{
    if (kind == TRANSACTION_SNAPSHOT)
        return begin_snapshot_sql;
    return terms->read_write ? begin_write_sql : begin_standby_sql;
}

static void args_settings(struct args *args, enum transaction_kind kind,
                          const struct transaction_terms *terms)
{
    args_int64(args, terms->lock_timeout_ms);
    args_text(args, kind == TRANSACTION_SNAPSHOT ? "0" : "60000");
}

PGresult *transaction_begin(PGconn *conn, enum transaction_kind kind, const char *snapshot,
                            struct transaction_terms *terms)
{
    struct args settings = ARGS_INIT;
    char join_sql[128];
    struct step steps[STATEMENTS_MAX] = { { begin_sql(kind, terms), NULL, 0 } };
    size_t n = 1;

    assert(PQtransactionStatus(conn) != PQTRANS_INTRANS && "its commit would end the other one");
    args_settings(&settings, kind, terms);
    if (snapshot) { /* takes no parameter, and must come before the first query */
        (void)snprintf(join_sql, sizeof join_sql, "set transaction snapshot '%s'", snapshot);
        steps[n++] = (struct step){ join_sql, NULL, 0 };
    }
    steps[n++] = (struct step){ settings_sql, &settings, 0 };
    PGresult *result = run_steps(conn, terms, steps, n, n - 1);
    if (result && !has_failed(result)) {
        PQclear(result);
        return NULL;
    }
    roll_back(conn);
    return result ? result : PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
}

static bool is_large(const char *sql, const struct args *args)
{
    size_t bytes = strlen(sql);

    for (int i = 0; i < args->n; i++)
        if (args->values[i])
            bytes += args->formats[i] ? (size_t)args->lengths[i] : strlen(args->values[i]);
    return bytes > LARGE_BYTES;
}

static PGresult *run_small(PGconn *conn, struct transaction_terms *terms, const struct step *step)
{
    struct args settings = ARGS_INIT;
    const struct step steps[STATEMENTS_MAX] = { { begin_sql(TRANSACTION_WRITE, terms), NULL, 0 },
                                                { settings_sql, &settings, 0 },
                                                *step,
                                                { "commit", NULL, 0 } };

    args_settings(&settings, TRANSACTION_WRITE, terms);
    return run_steps(conn, terms, steps, STATEMENTS_MAX, 2);
}

static PGresult *run_large(PGconn *conn, struct transaction_terms *terms, const struct step *step)
{
    const struct step steps[] = { *step, { "commit", NULL, 0 } };
    PGresult *failed = transaction_begin(conn, TRANSACTION_WRITE, NULL, terms);

    return failed ? failed : run_steps(conn, terms, steps, 2, 0);
}

PGresult *transaction_run(PGconn *conn, struct transaction_terms *terms, const char *sql,
                          const struct args *args, int binary)
{
    const struct step step = { sql, args, binary };
    PGresult *result =
        is_large(sql, args) ? run_large(conn, terms, &step) : run_small(conn, terms, &step);

    roll_back(conn);
    return result;
}

enum { SENT_STEPS = 2 };

static PGresult *send_alone(PGconn *conn, struct transaction_terms *terms, const char *sql,
                            const struct args *args)
{
    const struct step steps[SENT_STEPS] = { { sql, args, 0 }, { "commit", NULL, 0 } };
    PGresult *failed = transaction_begin(conn, TRANSACTION_WRITE, NULL, terms);

    if (failed || send_steps(conn, steps, SENT_STEPS))
        return failed;
    end_pipeline(conn);
    return PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
}

static PGresult *collect_alone(PGconn *conn, struct transaction_terms *terms)
{
    PGresult *result = collect_steps(conn, terms, SENT_STEPS, 0);

    roll_back(conn);
    return result;
}

/* Not in a pipeline: COPY is not allowed in one. */
static PGresult *send_within(PGconn *conn, const char *sql, const struct args *args, int binary)
{
    return PQsendQueryParams(conn, sql, args->n, NULL, args->values, args->lengths, args->formats,
                             binary)
               ? NULL
               : PQmakeEmptyPGresult(conn, PGRES_FATAL_ERROR);
}

static PGresult *collect_within(PGconn *conn, struct transaction_terms *terms)
{
    struct deadline deadline = deadline_of(terms);
    PGresult *result = next_result(conn, &deadline);

    if (PQresultStatus(result) != PGRES_COPY_OUT)
        PQclear(PQgetResult(conn)); /* NULL: the end of the statement */
    terms->timed_out = deadline.passed;
    return result;
}

PGresult *transaction_send(PGconn *conn, struct transaction_terms *terms, const char *sql,
                           const struct args *args)
{
    if (PQtransactionStatus(conn) == PQTRANS_IDLE)
        return send_alone(conn, terms, sql, args);
    return send_within(conn, sql, args, 0);
}

PGresult *transaction_collect(PGconn *conn, struct transaction_terms *terms)
{
    if (PQpipelineStatus(conn) != PQ_PIPELINE_OFF)
        return collect_alone(conn, terms);
    return collect_within(conn, terms);
}

/* As PQexecParams(), which would wait for ever. */
PGresult *transaction_continue(PGconn *conn, struct transaction_terms *terms, const char *sql,
                               const struct args *args, int binary)
{
    PGresult *failed = send_within(conn, sql, args, binary);

    return failed ? failed : collect_within(conn, terms);
}

PGresult *transaction_copy_start(PGconn *conn, const char *sql)
{
    struct deadline none = { .until_ms = 0 };

    return PQsendQuery(conn, sql) ? next_result(conn, &none) : NULL;
}

int transaction_copy_next(PGconn *conn, char **message)
{
    struct deadline none = { .until_ms = 0 };

    for (;;) {
        int n = PQgetCopyData(conn, message, true);
        if (n != 0)
            return n;
        if (!wait_for_bytes(conn, &none))
            return -1;
    }
}

PGresult *transaction_copy_end(PGconn *conn)
{
    struct deadline none = { .until_ms = 0 };
    PGresult *result = next_result(conn, &none);

    if (result)
        PQclear(next_result(conn, &none)); /* NULL: the connection is free again */
    return result;
}

PGresult *transaction_ask(PGconn *conn, const char *sql)
{
    return PQsendQuery(conn, sql) ? transaction_copy_end(conn) : NULL;
}
