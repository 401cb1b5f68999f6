#include "worker/klaviyo/header.h"

#include <stdio.h>

bool header_value_is_safe(const char *value)
{
    for (const char *c = value; *c; c++)
        if (*c < ' ' || *c > '~')
            return false;
    return true;
}

bool header_format(char *out, size_t size, const char *name, const char *value)
{
    int n = header_value_is_safe(value) ? snprintf(out, size, "%s: %s", name, value) : -1;

    if (n >= 0 && (size_t)n < size)
        return true;
    out[0] = '\0';
    return false;
}
