#ifndef WORKER_STORE_STATEMENT_H
#define WORKER_STORE_STATEMENT_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "common/strbuf.h"
struct db;

/*
 * A statement: its parameters going out and its rows coming back. Only the
 * modules of store/ include this.
 *
 *     struct args args = ARGS_INIT;
 *     args_int64(&args, run_id);
 *     args_text(&args, name);
 *     CLEANUP(result_freep) PGresult *rows = NULL;
 *     if (!db_query(db, sql_run_show, &args, &rows, err)) ...
 */
enum { ARGS_MAX = 32 };

struct args {
    int n;
    const char *values[ARGS_MAX]; /* borrowed until the query returned */
    int lengths[ARGS_MAX];
    int formats[ARGS_MAX];
    char numbers[ARGS_MAX][24];
};

#define ARGS_INIT ((struct args){ .n = 0 })

/*
 * Add the next parameter; what they point to is borrowed until the query has
 * returned. text NULL: null. args_bytes: bytea.
 */
void args_text(struct args *args, const char *text);
void args_int64(struct args *args, int64_t number);
void args_bool(struct args *args, bool value);
void args_bytes(struct args *args, const void *bytes, size_t len); /* bytea */

/*
 * An array literal ("{...}") built in a strbuf: array_open, any number of
 * elements of one kind, array_close, then args_array().
 */
void array_open(struct strbuf *array);
void array_init(struct strbuf *array);    /* opens one with room for 10,000 rows of long texts */
void array_restart(struct strbuf *array); /* starts over, in the same memory */
void array_text(struct strbuf *array, const char *text, size_t len); /* NULL: null */
void array_str(struct strbuf *array, const char *text);              /* NULL: null */
void array_int64(struct strbuf *array, int64_t number);
void array_close(struct strbuf *array);
bool args_array(struct args *args, const struct strbuf *array, struct error *err) MUST_USE;
bool args_close_array(struct args *args, struct strbuf *array, struct error *err) MUST_USE;

/* Rows of a response: PostgreSQL's own result, in text form unless said otherwise. */
static inline void result_freep(PGresult **slot)
{
    PQclear(*slot); /* accepts NULL */
}

/* Runs one statement. *out may be NULL where nothing is wanted back. */
bool db_query(struct db *db, const char *sql, const struct args *args, PGresult **out,
              struct error *err) MUST_USE;

/* The same; the response comes in binary form (for bytea). */
bool db_query_binary(struct db *db, const char *sql, const struct args *args, PGresult **out,
                     struct error *err) MUST_USE;

/*
 * One large statement that returns rows, in two parts: what happens between them is done
 * while the server works. Nothing else may be asked of the connection meanwhile. The
 * victim of a deadlock is not tried again, as db_query() does it. Like db_query() it is a
 * part of the transaction that is open.
 */
bool db_send(struct db *db, const char *sql, const struct args *args, struct error *err) MUST_USE;
bool db_await(struct db *db, PGresult **out, struct error *err) MUST_USE;

/* How many rows the statement changed or returned. */
int64_t result_rows_affected(PGresult *rows);

/* Rows and fields of a result; texts live as long as it. row and column count from 0. */
int result_rows(const PGresult *rows);
bool result_is_null(const PGresult *rows, int row, int column);
const char *result_text(const PGresult *rows, int row, int column); /* NULL for null */
int64_t result_int64(const PGresult *rows, int row, int column);    /* 0 for null */
bool result_bool(const PGresult *rows, int row, int column);        /* false for null */

/* A copy that the caller frees; NULL for null. False: out of memory. */
bool result_copy_text(const PGresult *rows, int row, int column, char **out, struct error *err)
    MUST_USE;

/* The error of a failed result, in the terms of db.h; what: what was being done. */
bool db_failure(struct db *db, const PGresult *rows, const char *what, struct error *err);

/* The same without the server's words, which may quote a value of a row. */
bool db_failure_without_words(const PGresult *rows, const char *what, struct error *err);

/* May the same statement succeed later? As db.h says. */
bool db_is_transient(const char *sqlstate);

/* libpq's handle, for COPY. */
PGconn *db_handle(struct db *db);

#endif
