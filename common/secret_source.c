#include "common/secret_source.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static bool copy_trimmed(const char *text, size_t max, struct secret *secret, struct error *err)
{
    size_t len = strlen(text);

    while (len > 0 && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (len > max)
        return error_set(err, ERROR_INPUT, "is longer than %zu bytes", max);
    if (!secret_allocate(secret, len, err))
        return false;
    memcpy(secret->bytes, text, len);
    return true;
}

bool secret_source_read(const struct secret_source *source, size_t max, struct secret *secret,
                        struct error *err)
{
    CLEANUP(secret_release) struct secret read = SECRET_INIT;

    if (!source->file || !*source->file)
        return copy_trimmed(source->text, max, secret, err);
    return secret_read_file(&read, source->file, max, err) &&
           copy_trimmed(read.bytes, max, secret, err);
}
