#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/faults.h"
#include "worker/store/db.h"
#include "worker/store/transaction.h"
#include "worker/store/waiting.h"

/*
 * A server that speaks just enough of PostgreSQL's protocol to answer the four
 * statements of a small transaction, and that goes away after a given message.
 */
struct message {
    const char *bytes;
    size_t len;
};

#define MESSAGE(text)            \
    {                            \
        (text), sizeof(text) - 1 \
    }
#define PARSED MESSAGE("1\0\0\0\4")
#define BOUND MESSAGE("2\0\0\0\4")
#define NO_ROWS MESSAGE("n\0\0\0\4")
#define NO_COLUMNS MESSAGE("T\0\0\0\6\0\0")
#define ONE_ROW MESSAGE("D\0\0\0\6\0\0")

static const struct message hello[] = {
    MESSAGE("R\0\0\0\10\0\0\0\0"),
    MESSAGE("Z\0\0\0\5I"),
};

static const struct message answers[] = {
    PARSED,
    BOUND,
    NO_ROWS,
    MESSAGE("C\0\0\0\12BEGIN\0"), /* 4 + 6 */
    PARSED,
    BOUND,
    NO_COLUMNS,
    ONE_ROW,
    MESSAGE("C\0\0\0\15SELECT 1\0"),
    PARSED,
    BOUND,
    NO_COLUMNS,
    ONE_ROW,
    MESSAGE("C\0\0\0\15SELECT 1\0"),
    PARSED,
    BOUND,
    NO_ROWS,
    MESSAGE("C\0\0\0\13COMMIT\0"),
    MESSAGE("Z\0\0\0\5I"),
};

/* A transaction has begun. */
static const struct message begun[] = {
    PARSED, BOUND,      NO_ROWS, MESSAGE("C\0\0\0\12BEGIN\0"),    PARSED,
    BOUND,  NO_COLUMNS, ONE_ROW, MESSAGE("C\0\0\0\15SELECT 1\0"), MESSAGE("Z\0\0\0\5T"),
};

enum {
    N_HELLO = sizeof hello / sizeof *hello,
    N_BEGUN = sizeof begun / sizeof *begun,
    N_ANSWERS = sizeof answers / sizeof *answers,
    COMMITTED = N_ANSWERS - 1, /* so many messages, and the commit has been answered */
};

struct server {
    pthread_t thread;
    int listening;
    int port;
    size_t messages; /* after so many answers it goes away */
    bool resets;     /* not in an orderly way */
    bool stays;      /* it does not go away before the client does */
    bool begins;     /* it answers what begins a transaction */
};

static void send_all(int fd, const struct message *messages, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)send(fd, messages[i].bytes, messages[i].len, MSG_NOSIGNAL); /* it may have gone */
}

/* What the client sends ends with a Sync: 'S' and a length of 4. */
static void read_until_sync(int fd)
{
    char bytes[8192];
    ssize_t n;

    do
        n = recv(fd, bytes, sizeof bytes, 0);
    while (n >= 5 && memcmp(bytes + n - 5, "S\0\0\0\4", 5) != 0);
}

static void *server_main(void *argument)
{
    struct server *server = argument;
    char startup[1024];
    int fd = accept(server->listening, NULL, NULL);

    assert_true(fd >= 0);
    assert_true(recv(fd, startup, sizeof startup, 0) > 0);
    send_all(fd, hello, N_HELLO);
    read_until_sync(fd);
    send_all(fd, server->begins ? begun : answers, server->messages);
    if (server->resets) {
        const struct linger at_once = { .l_onoff = 1 };
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    } else {
        if (!server->stays)
            (void)shutdown(fd, SHUT_WR);
        while (recv(fd, startup, sizeof startup, 0) > 0)
            ;
    }
    (void)close(fd);
    return NULL;
}

static void server_start(struct server *server)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;

    server->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->listening, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(server->listening, 1), 0);
    assert_int_equal(getsockname(server->listening, (struct sockaddr *)&address, &len), 0);
    server->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static void server_stop(struct server *server)
{
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listening);
}

static PGconn *connect_to(const struct server *server)
{
    char how[128];

    (void)snprintf(how, sizeof how,
                   "host=127.0.0.1 port=%d user=u dbname=d sslmode=disable gssencmode=disable",
                   server->port);
    PGconn *conn = PQconnectdb(how);
    if (PQstatus(conn) != CONNECTION_OK)
        fail_msg("%s", PQerrorMessage(conn));
    return conn;
}

/* Is the transaction taken for done when the server went away after so many messages? */
static bool succeeds(struct server server, int64_t timeout_ms)
{
    struct transaction_terms terms = { .read_write = true, .response_timeout_ms = timeout_ms };
    struct args none = ARGS_INIT;

    server_start(&server);
    PGconn *conn = connect_to(&server);
    PGresult *result = transaction_run(conn, &terms, "select", &none, 0);
    bool ok = PQresultStatus(result) == PGRES_TUPLES_OK; /* NULL: a failure */
    PQclear(result);
    PQfinish(conn);
    server_stop(&server);
    return ok;
}

static bool succeeds_after(size_t messages, bool resets, int64_t timeout_ms)
{
    return succeeds((struct server){ .messages = messages, .resets = resets }, timeout_ms);
}

static void a_statement_is_done_once_its_commit_was_answered_and_no_sooner(void **state)
{
    (void)state;
    for (size_t n = 0; n <= N_ANSWERS; n++)
        for (int64_t timeout_ms = 0; timeout_ms <= 5000; timeout_ms += 5000)
            if (succeeds_after(n, false, timeout_ms) != (n >= COMMITTED))
                fail_msg("after %zu messages, time-out %lld: taken for %s", n,
                         (long long)timeout_ms, n < COMMITTED ? "done" : "failed");
}

static void nor_where_the_connection_is_reset_before(void **state)
{
    (void)state;
    for (size_t n = 0; n < COMMITTED; n++)
        if (succeeds_after(n, true, 0))
            fail_msg("after %zu messages: taken for done", n);
}

/* Whether the call number nth of libpq's function failed; what is left must be clear then. */
static bool is_whole_or_gone(const char *function, uint64_t nth)
{
    struct transaction_terms terms = { .read_write = true };
    struct server server = { .messages = N_ANSWERS, .stays = true };
    struct args none = ARGS_INIT;

    server_start(&server);
    PGconn *conn = connect_to(&server);
    fault_arm(function, nth, 1);
    PGresult *result = transaction_run(conn, &terms, "select", &none, 0);
    bool has_failed = fault_disarm(function);
    assert_true(has_failed || PQresultStatus(result) == PGRES_TUPLES_OK);
    if (PQstatus(conn) == CONNECTION_OK &&
        (PQtransactionStatus(conn) != PQTRANS_IDLE || PQpipelineStatus(conn) != PQ_PIPELINE_OFF))
        fail_msg("%s, call %d: half a transaction is left", function, (int)nth);
    PQclear(result);
    PQfinish(conn);
    server_stop(&server);
    return has_failed;
}

static void a_call_that_fails_leaves_a_connection_that_is_whole_or_gone(void **state)
{
    static const char *const functions[] = { "PQenterPipelineMode", "PQsendQueryParams",
                                             "PQpipelineSync",      "PQconsumeInput",
                                             "PQgetResult",         "PQexitPipelineMode" };

    (void)state;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        uint64_t nth = 1;
        while (is_whole_or_gone(functions[i], nth))
            nth++;
        assert_true(nth > 1);
    }
}

static void a_transaction_that_cannot_be_rolled_back_takes_in_nothing_more(void **state)
{
    struct server server = { .begins = true, .messages = N_BEGUN, .stays = true };
    struct error err = ERROR_INIT;
    CLEANUP(db_freep) struct db *db = NULL;
    char url[128];

    (void)state;
    server_start(&server);
    (void)snprintf(url, sizeof url,
                   "host=127.0.0.1 port=%d user=u dbname=d sslmode=disable gssencmode=disable",
                   server.port);
    const struct db_options how = { .url = { .text = url }, .name = "test" };
    assert_true(db_open(&db, &how, &err) && db_begin(db, &err));
    fault_arm("PQsendQueryParams", 1, 1);
    db_rollback(db);
    assert_true(fault_disarm("PQsendQueryParams"));
    assert_false(db_is_up(db));
    assert_false(db_begin(db, &err));
    db_free(db_take(&db));
    server_stop(&server);
}

/* The last one: it is so for the whole process. */
static void a_server_that_says_nothing_is_not_waited_for_once_waiting_is_over(void **state)
{
    (void)state;
    assert_true(succeeds((struct server){ .messages = N_ANSWERS, .stays = true }, 0));
    waiting_end();
    for (size_t n = 0; n < COMMITTED; n++)
        if (succeeds((struct server){ .messages = n, .stays = true }, 0))
            fail_msg("after %zu messages: taken for done", n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_statement_is_done_once_its_commit_was_answered_and_no_sooner),
        cmocka_unit_test(nor_where_the_connection_is_reset_before),
        cmocka_unit_test(a_call_that_fails_leaves_a_connection_that_is_whole_or_gone),
        cmocka_unit_test(a_transaction_that_cannot_be_rolled_back_takes_in_nothing_more),
        cmocka_unit_test(a_server_that_says_nothing_is_not_waited_for_once_waiting_is_over),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
