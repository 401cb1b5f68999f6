#include "worker/store/db_connect.h"

#include <assert.h>
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
    ADDRESS_BYTES = 160,
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

/* One of the connections that are made at the same time. */
struct attempt {
    PGconn *conn;
    PostgresPollingStatusType wants;
    bool several_hosts;
    int64_t timeout_ms;          /* that one address gets; of all names and addresses in the URL */
    int64_t until_ms;            /* for the address that is being tried */
    char address[ADDRESS_BYTES]; /* that one */
};

static void read_terms(struct attempt *attempt)
{
    PQconninfoOption *options = PQconninfo(attempt->conn);
    int64_t seconds = 5;

    for (PQconninfoOption *o = options; o && o->keyword; o++) {
        if (o->val && strcmp(o->keyword, "connect_timeout") == 0)
            (void)!parse_int64(o->val, 1, 3600, &seconds);
        if (o->val && (strcmp(o->keyword, "host") == 0 || strcmp(o->keyword, "hostaddr") == 0))
            attempt->several_hosts = attempt->several_hosts || strchr(o->val, ',');
    }
    PQconninfoFree(options); /* accepts NULL */
    attempt->timeout_ms = seconds * 1000;
}

/*
 * libpq's own loop is not used, for the verbosity that brings the SQLSTATE, which can be
 * set only now, and for the descriptor that stops it.
 */
static bool start(struct attempt *attempt, const char *url, const struct db_options *options,
                  struct error *err)
{
    const char *values[] = { options->name, "UTF8", "5", "3", "1", "3", "5000", url, NULL };

    attempt->conn = PQconnectStartParams(keywords, values, 1);
    if (!attempt->conn)
        return error_no_memory(err);
    if (PQstatus(attempt->conn) == CONNECTION_BAD) {
        db_connect_describe(PQerrorMessage(attempt->conn), err);
        return false;
    }
    (void)PQsetErrorVerbosity(attempt->conn, PQERRORS_SQLSTATE);
    attempt->wants = PGRES_POLLING_WRITING;
    read_terms(attempt);
    return true;
}

/* Each address gets its time. */
static void note_address(struct attempt *attempt)
{
    char now[ADDRESS_BYTES];
    const char *host = PQhostaddr(attempt->conn), *port = PQport(attempt->conn);

    (void)snprintf(now, sizeof now, "%s %s", host ? host : "", port ? port : "");
    if (strcmp(now, attempt->address) == 0)
        return;
    attempt->until_ms = clock_ms() + attempt->timeout_ms + GRACE_MS;
    (void)snprintf(attempt->address, sizeof attempt->address, "%s", now);
}

static bool is_open(const struct attempt *attempt)
{
    return attempt->wants == PGRES_POLLING_OK;
}

/* False: the wait for these connections is over. */
static bool wait_for_server(struct attempt *attempts, size_t n, struct pollfd *fds,
                            const int *stop_fd)
{
    int64_t until_ms = INT64_MAX;

    for (size_t i = 0; i < n; i++) {
        struct attempt *a = &attempts[i];
        short events = a->wants == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        fds[i] = (struct pollfd){ .fd = is_open(a) ? -1 : PQsocket(a->conn), .events = events };
        note_address(a);
        if (!is_open(a) && a->until_ms < until_ms)
            until_ms = a->until_ms;
    }
    fds[n] = (struct pollfd){ .fd = stop_fd ? *stop_fd : -1, .events = POLLIN };
    fds[n + 1] = (struct pollfd){ .fd = waiting_fd(), .events = POLLIN };
    int64_t left_ms = until_ms - clock_ms();
    (void)poll(fds, n + 2, left_ms > 0 ? (int)left_ms : 0);
    return !fds[n].revents && !fds[n + 1].revents;
}

static bool run_out_of_time(struct attempt *attempt, struct error *err)
{
    if (!attempt->several_hosts) {
        db_connect_describe("timeout expired", err);
        return false;
    }
    PQreset(attempt->conn); /* which tries the next host */
    attempt->wants = PGRES_POLLING_OK;
    return true;
}

static bool advance(struct attempt *attempt, const struct pollfd *fd, struct error *err)
{
    if (is_open(attempt))
        return true;
    if (fd->revents)
        attempt->wants = PQconnectPoll(attempt->conn);
    else if (clock_ms() >= attempt->until_ms && !run_out_of_time(attempt, err))
        return false;
    if (attempt->wants != PGRES_POLLING_FAILED &&
        (!is_open(attempt) || PQstatus(attempt->conn) == CONNECTION_OK))
        return true;
    db_connect_describe(PQerrorMessage(attempt->conn), err);
    return false;
}

static bool are_open(const struct attempt *attempts, size_t n)
{
    size_t open = 0;

    while (open < n && is_open(&attempts[open]))
        open++;
    return open == n;
}

static bool connect_all(struct attempt *attempts, size_t n, const char *url,
                        const struct db_options *options, struct error *err)
{
    struct pollfd fds[DB_TOGETHER_MAX + 2];

    for (size_t i = 0; i < n; i++)
        if (!start(&attempts[i], url, options, err))
            return false;
    while (!are_open(attempts, n)) {
        if (!wait_for_server(attempts, n, fds, options->stop_fd))
            return error_set(err, ERROR_RETRY, "connecting to PostgreSQL was broken off");
        for (size_t i = 0; i < n; i++)
            if (!advance(&attempts[i], &fds[i], err))
                return false;
    }
    return true;
}

static bool connect_to(const char *url, const struct db_options *options, PGconn **out, size_t n,
                       struct error *err)
{
    struct attempt attempts[DB_TOGETHER_MAX] = { { .conn = NULL } };
    bool ok = connect_all(attempts, n, url, options, err);

    for (size_t i = 0; i < n; i++) {
        if (ok)
            out[i] = attempts[i].conn;
        else
            PQfinish(attempts[i].conn); /* accepts NULL */
    }
    return ok;
}

static bool check_url(const char *url, struct error *err)
{
    struct error why = ERROR_INIT;

    return database_url_check(url, &why) ||
           error_set(err, ERROR_INPUT, "DATABASE_URL %s", why.text);
}

bool db_connect(const struct db_options *options, PGconn **out, size_t n, struct error *err)
{
    CLEANUP(secret_release) struct secret url = SECRET_INIT;

    assert(n <= DB_TOGETHER_MAX);
    if (secret_source_read(&options->url, URL_MAX_BYTES, &url, err) && check_url(url.bytes, err) &&
        connect_to(url.bytes, options, out, n, err))
        return true;
    if (options->service)
        err->kind = ERROR_RETRY;
    return false;
}
