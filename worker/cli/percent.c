#include "worker/cli/percent.h"

#include <string.h>

enum { DIGITS_MAX = 3 };

bool percent_parse(const char *text, int64_t least, int64_t *percent)
{
    size_t digits = strspn(text, "0123456789");
    int64_t value = 0;

    if (digits == 0 || digits > DIGITS_MAX ||
        strcmp(text + digits + (text[digits] == '%'), "") != 0)
        return false;
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (text[i] - '0');
    if (value < least || value > 100)
        return false;
    *percent = value;
    return true;
}
