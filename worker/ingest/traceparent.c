#include "worker/ingest/traceparent.h"

#include <string.h>

static bool is_hex_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* Each h of the form is a digit, all else is itself. */
static bool has_form(const char *bytes)
{
    static const char form[] = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";

    for (size_t i = 0; i < TRACEPARENT_CHARACTERS; i++)
        if (form[i] == 'h' ? !is_hex_digit(bytes[i]) : bytes[i] != form[i])
            return false;
    return true;
}

static bool is_all_zeros(const char *bytes, size_t n)
{
    return strspn(bytes, "0") >= n;
}

bool traceparent_parse(const char *bytes, size_t n, char out[TRACEPARENT_CHARACTERS + 1])
{
    char kept[TRACEPARENT_CHARACTERS + 1];

    if (n != TRACEPARENT_CHARACTERS || !has_form(bytes))
        return false;
    memcpy(kept, bytes, TRACEPARENT_CHARACTERS);
    kept[TRACEPARENT_CHARACTERS] = '\0';

    if (memcmp(kept, "ff", 2) == 0 || is_all_zeros(kept + 3, 32) || is_all_zeros(kept + 36, 16))
        return false; /* the specification calls these invalid */
    memcpy(out, kept, sizeof kept);
    return true;
}
