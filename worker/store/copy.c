#include "worker/store/copy.h"

#include <string.h>

#define SIGNATURE "PGCOPY\n\377\r\n\0"

enum { SIGNATURE_BYTES = 11 };

/* The rest of a message. */
struct rest {
    const char *at;
    size_t len;
};

static bool read_number(struct rest *rest, size_t bytes, int64_t *out)
{
    uint64_t value = 0;

    if (rest->len < bytes)
        return false;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | (unsigned char)rest->at[i];
    rest->at += bytes;
    rest->len -= bytes;

    /* Sign extension from the width that was read. */
    unsigned unused = (unsigned)(64 - bytes * 8);
    *out = (int64_t)(value << unused) >> unused;
    return true;
}

static bool skip(struct rest *rest, int64_t bytes)
{
    if (bytes < 0 || (uint64_t)bytes > rest->len)
        return false;
    rest->at += bytes;
    rest->len -= (size_t)bytes;
    return true;
}

/* Signature, flags (bit 16: oids, long gone), length of an extension, the extension. */
static bool skip_header(struct rest *rest)
{
    int64_t flags, extension;

    if (rest->len < SIGNATURE_BYTES || memcmp(rest->at, SIGNATURE, SIGNATURE_BYTES) != 0)
        return false;
    return skip(rest, SIGNATURE_BYTES) && read_number(rest, 4, &flags) && flags == 0 &&
           read_number(rest, 4, &extension) && skip(rest, extension);
}

static bool read_field(struct rest *rest, struct bytes *field)
{
    int64_t len;

    if (!read_number(rest, 4, &len))
        return false;
    *field = BYTES_NONE;
    if (len == -1)
        return true;
    const char *bytes = rest->at;
    if (!skip(rest, len))
        return false;
    *field = (struct bytes){ bytes, (size_t)len };
    return true;
}

enum copy_read copy_read(struct copy_reader *reader, const char *message, size_t len,
                         struct bytes *fields, size_t n_fields)
{
    struct rest rest = { message, len };
    int64_t count;

    if (!reader->past_header) {
        if (!skip_header(&rest))
            return COPY_BROKEN;
        reader->past_header = true;
        if (rest.len == 0)
            return COPY_NO_ROW;
    }
    if (!read_number(&rest, 2, &count))
        return COPY_BROKEN;
    if (count == -1)
        return rest.len == 0 ? COPY_NO_ROW : COPY_BROKEN;
    if (count < 0 || (size_t)count != n_fields)
        return COPY_BROKEN;
    for (size_t i = 0; i < n_fields; i++)
        if (!read_field(&rest, &fields[i]))
            return COPY_BROKEN;
    return rest.len == 0 ? COPY_ROW : COPY_BROKEN;
}

int64_t copy_int(const struct bytes *field)
{
    struct rest rest = { field->at, field->n };
    int64_t value = 0;

    if (field->at && (field->n == 2 || field->n == 4 || field->n == 8))
        (void)!read_number(&rest, field->n, &value);
    return value;
}
