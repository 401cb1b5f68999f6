#include "worker/ingest/media_type.h"

#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "type/subtype", without what is around it. */
static struct bytes essence(struct bytes text)
{
    if (!text.at)
        return text;
    const char *end = memchr(text.at, ';', text.n);

    if (!end)
        end = text.at + text.n;
    while (text.at < end && is_blank(*text.at))
        text.at++;
    while (end > text.at && is_blank(end[-1]))
        end--;
    text.n = (size_t)(end - text.at);
    return text;
}

bool media_type_is(struct bytes content_type, const char *name)
{
    struct bytes type = essence(content_type);

    return type.at && type.n == strlen(name) && strncasecmp(type.at, name, type.n) == 0;
}
