#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Borrowed bytes, not NUL-terminated. at is NULL where there are none at all. */
struct bytes {
    const char *at;
    size_t n;
};

#define BYTES_NONE ((struct bytes){ NULL, 0 })

static inline bool bytes_are(struct bytes bytes, const char *text)
{
    return bytes.at && bytes.n == strlen(text) && memcmp(bytes.at, text, bytes.n) == 0;
}

#endif
