#ifndef WORKER_STORE_DB_CONNECT_H
#define WORKER_STORE_DB_CONNECT_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "worker/store/db.h"

/*
 * Opening connections: the URL is read again (a password may have been rotated),
 * and a failure is reported in words of ours, which quote no part of the URL. The
 * SQLSTATE says what the server refused, in whatever language it speaks. n of them,
 * at most DB_TOGETHER_MAX, are made at the same time: all, or none.
 *
 * Errors: ERROR_INPUT where another attempt is of no use (wrong password, unknown
 * database, a URL that is wrong); ERROR_RETRY otherwise, and always for a service,
 * whose database or password may yet come.
 */
bool db_connect(const struct db_options *options, PGconn **out, size_t n, struct error *err)
    MUST_USE;

/* What a text of libpq about a failed connection means; kind and words. For tests. */
void db_connect_describe(const char *libpq_words, struct error *err);

#endif
