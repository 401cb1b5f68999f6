#include "worker/store/copy_stream.h"

#include <stdlib.h>

#include "worker/store/transaction.h"

bool copy_stream_init(struct copy_stream *stream, struct db *db, size_t n_fields, struct error *err)
{
    *stream = (struct copy_stream){ .db = db, .n_fields = n_fields };
    stream->fields = calloc(n_fields, sizeof *stream->fields);
    return stream->fields || error_no_memory(err);
}

void copy_stream_release(struct copy_stream *stream)
{
    PQfreemem(stream->message);
    PQclear(stream->failure);
    free(stream->fields);
    *stream = (struct copy_stream){ .db = NULL };
}

static bool keep_failure(struct copy_stream *stream, PGresult *result)
{
    PQclear(stream->failure);
    stream->failure = result;
    return false;
}

bool copy_stream_start(struct copy_stream *stream, const char *sql)
{
    PGresult *result = transaction_copy_start(db_handle(stream->db), sql);

    if (PQresultStatus(result) != PGRES_COPY_OUT)
        return keep_failure(stream, result);
    PQclear(result);
    return true;
}

/* After the last row: did the statement end well? */
static enum copy_stream_next end_of_stream(struct copy_stream *stream)
{
    PGresult *result = transaction_copy_end(db_handle(stream->db));

    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        (void)keep_failure(stream, result);
        return COPY_STREAM_FAILED;
    }
    PQclear(result);
    return COPY_STREAM_END;
}

enum copy_stream_next copy_stream_next(struct copy_stream *stream)
{
    for (;;) {
        PQfreemem(stream->message);
        stream->message = NULL;
        int len = transaction_copy_next(db_handle(stream->db), &stream->message);
        if (len < 0)
            return end_of_stream(stream);

        switch (copy_read(&stream->reader, stream->message, (size_t)len, stream->fields,
                          stream->n_fields)) {
        case COPY_ROW:
            return COPY_STREAM_ROW;
        case COPY_NO_ROW:
            break;
        case COPY_BROKEN:
            return COPY_STREAM_BROKEN;
        }
    }
}
