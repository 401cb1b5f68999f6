#ifndef WORKER_STORE_COPY_STREAM_H
#define WORKER_STORE_COPY_STREAM_H

#include "worker/store/copy.h"
#include "worker/store/statement.h"

/*
 * A statement "copy (...) to stdout (format binary)" that is being read, one row at a
 * time, on a connection that does nothing else meanwhile. Only the modules of store/
 * include this. In place: init, release.
 *
 * A stream that is not read to its end leaves its connection of no use.
 */
struct copy_stream {
    struct db *db;
    struct copy_reader reader;
    char *message; /* libpq's, of the row that is lent */
    struct bytes *fields;
    size_t n_fields;
    PGresult *failure; /* of COPY_STREAM_FAILED, until release */
};

enum copy_stream_next {
    COPY_STREAM_ROW,    /* stream->fields are lent until the next call */
    COPY_STREAM_END,    /* the statement ended well; the connection is free again */
    COPY_STREAM_FAILED, /* stream->failure says why (NULL: the connection is gone) */
    COPY_STREAM_BROKEN, /* not this format */
};

/*
 * For rows of n_fields. False: out of memory (ERROR_RETRY); release is safe
 * then, too. The connection outlives the stream.
 */
bool copy_stream_init(struct copy_stream *stream, struct db *db, size_t n_fields, struct error *err)
    MUST_USE;
void copy_stream_release(struct copy_stream *stream);

/* Sends the statement. False: stream->failure as above. Does not wait for a row. */
bool copy_stream_start(struct copy_stream *stream, const char *sql) MUST_USE;

/* Waits for the next row. After anything but ROW the stream is at its end. */
enum copy_stream_next copy_stream_next(struct copy_stream *stream) MUST_USE;

#endif
