#include "worker/admin/name.h"

#include <string.h>

enum { NAME_MAX_CHARACTERS = 200 };

/* ASCII's control characters, and those that UTF-8 writes as C2 80 to C2 9F. */
static bool has_control_characters(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0))
            return true;
    return false;
}

static size_t characters(const char *text)
{
    size_t n = 0;

    for (const char *c = text; *c; c++)
        n += ((unsigned char)*c & 0xc0) != 0x80; /* not in the middle of one */
    return n;
}

bool name_check(struct context *context, const char *what, const char *name, struct error *err)
{
    size_t n = strlen(name);

    if (n == 0)
        return wrong_usage(context, err, "the name of the %s is empty", what);
    if (characters(name) > NAME_MAX_CHARACTERS)
        return wrong_usage(context, err, "the name of the %s is longer than %d characters", what,
                           NAME_MAX_CHARACTERS);
    if (has_control_characters(name))
        return wrong_usage(context, err, "the name of the %s holds control characters", what);
    if (name[0] == ' ' || name[n - 1] == ' ')
        return wrong_usage(context, err, "the name of the %s begins or ends with a blank", what);
    return true;
}
