#include "worker/store/statement.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/parse.h"

void args_text(struct args *args, const char *text)
{
    assert(args->n < ARGS_MAX);
    args->values[args->n++] = text;
}

void args_int64(struct args *args, int64_t number)
{
    assert(args->n < ARGS_MAX);
    char *text = args->numbers[args->n];
    (void)snprintf(text, sizeof args->numbers[0], "%" PRId64, number);
    args->values[args->n++] = text;
}

void args_bool(struct args *args, bool value)
{
    args_text(args, value ? "t" : "f");
}

void args_bytes(struct args *args, const void *bytes, size_t len)
{
    assert(args->n < ARGS_MAX && len <= INT32_MAX);
    args->lengths[args->n] = (int)len;
    args->formats[args->n] = 1;
    args->values[args->n++] = bytes;
}

/* 10,000 rows of 254-byte addresses, or long profile ids, as array literals. */
enum { ARRAY_MAX_BYTES = 32 * 1024 * 1024 };

void array_open(struct strbuf *array)
{
    strbuf_add(array, "{", 1);
}

void array_init(struct strbuf *array)
{
    *array = STRBUF_INIT(ARRAY_MAX_BYTES);
    array_open(array);
}

void array_restart(struct strbuf *array)
{
    strbuf_rewind(array, 0);
    array_open(array);
}

/* An element may end with a brace itself: only the first one follows the opening. */
static void add_separator(struct strbuf *array)
{
    if (array->len > 1)
        strbuf_add(array, ",", 1);
}

void array_text(struct strbuf *array, const char *text, size_t len)
{
    add_separator(array);
    if (!text) {
        strbuf_add_str(array, "NULL");
        return;
    }
    strbuf_add(array, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            strbuf_add(array, "\\", 1);
        strbuf_add(array, text + i, 1);
    }
    strbuf_add(array, "\"", 1);
}

void array_str(struct strbuf *array, const char *text)
{
    array_text(array, text, text ? strlen(text) : 0);
}

void array_int64(struct strbuf *array, int64_t number)
{
    add_separator(array);
    strbuf_addf(array, "%" PRId64, number);
}

void array_close(struct strbuf *array)
{
    strbuf_add(array, "}", 1);
}

bool args_array(struct args *args, const struct strbuf *array, struct error *err)
{
    if (!strbuf_ok(array))
        return error_no_memory(err);
    args_text(args, array->data);
    return true;
}

bool args_close_array(struct args *args, struct strbuf *array, struct error *err)
{
    array_close(array);
    return args_array(args, array, err);
}

int64_t result_rows_affected(PGresult *rows)
{
    int64_t n = 0;

    (void)!parse_int64(PQcmdTuples(rows), 0, INT64_MAX, &n);
    return n;
}

int result_rows(const PGresult *rows)
{
    return PQntuples(rows);
}

bool result_is_null(const PGresult *rows, int row, int column)
{
    return PQgetisnull(rows, row, column);
}

const char *result_text(const PGresult *rows, int row, int column)
{
    return result_is_null(rows, row, column) ? NULL : PQgetvalue(rows, row, column);
}

int64_t result_int64(const PGresult *rows, int row, int column)
{
    int64_t number = 0;

    (void)!parse_int64(PQgetvalue(rows, row, column), INT64_MIN, INT64_MAX, &number);
    return number;
}

bool result_bool(const PGresult *rows, int row, int column)
{
    return PQgetvalue(rows, row, column)[0] == 't';
}

bool result_copy_text(const PGresult *rows, int row, int column, char **out, struct error *err)
{
    const char *text = result_text(rows, row, column);

    *out = text ? strdup(text) : NULL;
    return *out || !text || error_no_memory(err);
}
