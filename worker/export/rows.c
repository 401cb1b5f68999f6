#include "worker/export/rows.h"

#include <stdlib.h>
#include <string.h>

#include "worker/export/address.h"
#include "worker/export/mapping.h"

static size_t count_lines(const char *body, size_t len)
{
    size_t n = len > 0;

    for (const char *at = body; (at = memchr(at, '\n', len - (size_t)(at - body))); at++)
        n++;
    return n;
}

/* One line without the comma at its end. */
static bool read_row(struct row *row, const char *line, size_t len)
{
    row->object = line;
    row->len = len > 0 && line[len - 1] == ',' ? len - 1 : len;
    row->address = mapping_address(line, row->len, &row->address_len);
    return row->address != NULL;
}

bool rows_parse(struct rows *rows, const char *body, size_t len, struct error *err)
{
    size_t n = count_lines(body, len);
    struct row *row = calloc(n + 1, sizeof *row);
    const char *line = body;

    if (!row)
        return error_no_memory(err);
    for (size_t i = 0; i < n; i++) {
        size_t left = len - (size_t)(line - body);
        const char *end = memchr(line, '\n', left);

        if (!read_row(&row[i], line, end ? (size_t)(end - line) : left)) {
            free(row);
            return error_set(err, ERROR_FATAL, "the body of a batch is damaged");
        }
        line = end ? end + 1 : line + left;
    }
    *rows = (struct rows){ .row = row, .n = n };
    return true;
}

void rows_release(struct rows *rows)
{
    free(rows->row);
    *rows = ROWS_INIT;
}

static int compare(const struct row *row, const char *address, size_t len)
{
    size_t shorter = len < row->address_len ? len : row->address_len;
    int order = memcmp(row->address, address, shorter);

    if (order == 0)
        return (row->address_len > len) - (row->address_len < len);
    return order;
}

int64_t rows_find(const struct rows *rows, const char *address)
{
    char wanted[ADDRESS_MAX];
    size_t len, low = 0, high = rows->n;

    if (!address_normalise(address, wanted, &len))
        return -1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(&rows->row[middle], wanted, len);

        if (order == 0)
            return (int64_t)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}
