#include "worker/store/db_connect.h"

#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/parse.h"
#include "worker/store/database_url.h"
#include "worker/store/waiting.h"

enum {
    URL_MAX_BYTES = 16384,
    SQLSTATE_BYTES = 5,
    GRACE_MS = 500, /* what the kernel may take to report its own time-out of the same length */
};

/*
 * A dead network ends a connection well within the lease (15 s): 5 s to connect,
 * keepalives after 3 s and then each second, three of them, 5 s for data that is
 * not acknowledged. What the URL says wins: it comes later.
 */
static const char *const keywords[] = {
    "application_name",
    "client_encoding",
    "connect_timeout",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "dbname",
    NULL,
};

struct reason {
    const char *mark; /* a SQLSTATE, the first characters of one, or a piece of libpq's words */
    enum error_kind kind;
    const char *words;
};

static const struct reason by_sqlstate[] = {
    { "28P01", ERROR_INPUT, "the password was refused: check user and password" },
    { "28000", ERROR_INPUT,
      "the server lets this user in neither so nor from here: check the user, sslmode and the "
      "server's pg_hba.conf" },
    { "3D000", ERROR_INPUT, "there is no such database: check its name" },
    { "42501", ERROR_INPUT,
      "this user may not connect to this database: grant it connect; or the server may not "
      "write its own files: see its log" },
    { "53300", ERROR_RETRY, "the server has no connection free: see deploy/sizing.md" },
    { "57P03", ERROR_RETRY, "the server is starting, stopping or recovering" },
    { "08P01", ERROR_RETRY, "the server or a pooler refused the connection: see its log" },
    { "", ERROR_RETRY, "the server refused the connection: see its log" },
};

static const struct reason by_words[] = {
    { "no password supplied", ERROR_INPUT, "the server asks for a password, and none is given" },
    { "could not translate host name", ERROR_RETRY, "the name of its host cannot be resolved" },
    { "Connection refused", ERROR_RETRY, "nothing listens at that address and port" },
    { "No such file or directory", ERROR_RETRY,
      "there is no server's socket or no certificate "
      "where it was looked for" },
    { "Too many open files", ERROR_RETRY,
      "this process has no descriptor free: raise its limit (ulimit -n)" },
    { "out of memory", ERROR_RETRY, "out of memory" },
    { "timeout expired", ERROR_RETRY, "no response in time" },
    { "timed out", ERROR_RETRY, "no response in time" },
    { "No route to host", ERROR_RETRY, "there is no way to its host" },
    { "Network is unreachable", ERROR_RETRY, "there is no way to its host" },
    { "does not support SSL", ERROR_INPUT, "the server speaks no TLS, which sslmode requires" },
    { "certificate", ERROR_INPUT,
      "TLS: a certificate is missing or not trusted: check sslmode and "
      "sslrootcert" },
    { "read-only", ERROR_RETRY,
      "the server is a standby or read only, which "
      "target_session_attrs excludes" },
    { "hot standby mode", ERROR_RETRY,
      "the server is a standby, which target_session_attrs "
      "excludes" },
    { "closed the connection", ERROR_RETRY, "the server closed the connection" },
    { "", ERROR_RETRY, "no connection came about" },
};

/* With verbosity PQERRORS_SQLSTATE a line of a server's refusal ends so: "...FATAL:  28P01". */
static bool find_sqlstate(const char *words, char sqlstate[SQLSTATE_BYTES + 1])
{
    bool found = false;

    for (const char *line = words; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t n = strcspn(line, "\n");
        if (n < SQLSTATE_BYTES + 3 || memcmp(line + n - SQLSTATE_BYTES - 3, ":  ", 3) != 0)
            continue;
        const char *state = line + n - SQLSTATE_BYTES;
        bool ok = true;
        for (size_t i = 0; i < SQLSTATE_BYTES; i++)
            ok = ok && (isdigit((unsigned char)state[i]) || isupper((unsigned char)state[i]));
        if (!ok)
            continue;
        memcpy(sqlstate, state, SQLSTATE_BYTES);
        sqlstate[SQLSTATE_BYTES] = '\0';
        found = true;
    }
    return found;
}

static const struct reason *reason_of(const char *sqlstate)
{
    const struct reason *reason = by_sqlstate;

    while (strncmp(sqlstate, reason->mark, strlen(reason->mark)) != 0)
        reason++;
    return reason;
}

void db_connect_describe(const char *libpq_words, struct error *err)
{
    char sqlstate[SQLSTATE_BYTES + 1];

    if (find_sqlstate(libpq_words, sqlstate)) {
        const struct reason *reason = reason_of(sqlstate);
        (void)error_set(err, reason->kind,
                        "cannot connect to PostgreSQL as DATABASE_URL says: %s (SQLSTATE %s)",
                        reason->words, sqlstate);
        return;
    }
    const struct reason *reason = by_words;
    while (!strstr(libpq_words, reason->mark))
        reason++;
    (void)error_set(err, reason->kind, "cannot connect to PostgreSQL as DATABASE_URL says: %s",
                    reason->words);
}

/* Milliseconds that one address gets; of all names and addresses in the URL. */
static int64_t connect_timeout_ms(PGconn *conn, bool *several_hosts)
{
    PQconninfoOption *options = PQconninfo(conn);
    int64_t seconds = 5;

    *several_hosts = false;
    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        if (o->val && strcmp(o->keyword, "connect_timeout") == 0)
            (void)!parse_int64(o->val, 1, 3600, &seconds);
        if (o->val && (strcmp(o->keyword, "host") == 0 || strcmp(o->keyword, "hostaddr") == 0))
            *several_hosts = *several_hosts || strchr(o->val, ',');
    }
    PQconninfoFree(options); /* accepts NULL */
    return seconds * 1000;
}

/* The address that is being tried, so that each gets its time. */
static void note_address(PGconn *conn, char *address, size_t size, bool *changed)
{
    char now[160];
    const char *host = PQhostaddr(conn), *port = PQport(conn);

    (void)snprintf(now, sizeof now, "%s %s", host ? host : "", port ? port : "");
    *changed = strcmp(now, address) != 0;
    (void)snprintf(address, size, "%s", now);
}

enum waited { WAITED_READY, WAITED_TIMEOUT, WAITED_STOP };

static enum waited wait_for_server(PGconn *conn, PostgresPollingStatusType wants, int64_t until_ms,
                                   const int *stop_fd)
{
    struct pollfd fds[] = {
        { .fd = PQsocket(conn), .events = wants == PGRES_POLLING_READING ? POLLIN : POLLOUT },
        { .fd = stop_fd ? *stop_fd : -1, .events = POLLIN },
        { .fd = waiting_fd(), .events = POLLIN },
    };
    int64_t left_ms = until_ms - clock_ms();

    (void)poll(fds, 3, left_ms > 0 ? (int)left_ms : 0);
    if (fds[1].revents || fds[2].revents)
        return WAITED_STOP;
    return fds[0].revents || clock_ms() < until_ms ? WAITED_READY : WAITED_TIMEOUT;
}

/*
 * libpq's own loop, but for the verbosity that brings the SQLSTATE, which can be set
 * only now, and for the descriptor that stops it.
 */
static enum waited drive(PGconn *conn, int64_t timeout_ms, const int *stop_fd)
{
    PostgresPollingStatusType wants = PGRES_POLLING_WRITING;
    int64_t until_ms = clock_ms() + timeout_ms;
    char address[160] = "";

    while (wants != PGRES_POLLING_OK && wants != PGRES_POLLING_FAILED) {
        bool changed;
        note_address(conn, address, sizeof address, &changed);
        if (changed)
            until_ms = clock_ms() + timeout_ms + GRACE_MS;
        enum waited waited = wait_for_server(conn, wants, until_ms, stop_fd);
        if (waited != WAITED_READY)
            return waited;
        wants = PQconnectPoll(conn);
    }
    return WAITED_READY;
}

static bool complete(PGconn *conn, const int *stop_fd, struct error *err)
{
    bool several_hosts;
    int64_t timeout_ms = connect_timeout_ms(conn, &several_hosts);

    (void)PQsetErrorVerbosity(conn, PQERRORS_SQLSTATE);
    switch (drive(conn, timeout_ms, stop_fd)) {
    case WAITED_READY:
        break;
    case WAITED_STOP:
        return error_set(err, ERROR_RETRY, "connecting to PostgreSQL was broken off");
    case WAITED_TIMEOUT:
        if (!several_hosts) {
            db_connect_describe("timeout expired", err);
            return false;
        }
        PQreset(conn); /* which goes on to the next host */
        break;
    }
    if (PQstatus(conn) == CONNECTION_OK)
        return true;
    db_connect_describe(PQerrorMessage(conn), err);
    return false;
}

static bool connect_to(const char *url, const struct db_options *options, PGconn **out,
                       struct error *err)
{
    const char *values[] = { options->name, "UTF8", "5", "3", "1", "3", "5000", url, NULL };
    PGconn *conn = PQconnectStartParams(keywords, values, 1);

    if (!conn)
        return error_no_memory(err);
    bool ok = PQstatus(conn) != CONNECTION_BAD;
    if (!ok)
        db_connect_describe(PQerrorMessage(conn), err);
    if (!ok || !complete(conn, options->stop_fd, err)) {
        PQfinish(conn);
        return false;
    }
    *out = conn;
    return true;
}

static bool check_url(const char *url, struct error *err)
{
    struct error why = ERROR_INIT;

    return database_url_check(url, &why) ||
           error_set(err, ERROR_INPUT, "DATABASE_URL %s", why.text);
}

bool db_connect(const struct db_options *options, PGconn **out, struct error *err)
{
    CLEANUP(secret_release) struct secret url = SECRET_INIT;

    if (secret_source_read(&options->url, URL_MAX_BYTES, &url, err) && check_url(url.bytes, err) &&
        connect_to(url.bytes, options, out, err))
        return true;
    if (options->service)
        err->kind = ERROR_RETRY;
    return false;
}
