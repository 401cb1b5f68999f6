#include "worker/cli/duration.h"

#include <string.h>

#include "common/parse.h"

enum { MINUTE = 60, HOUR = 3600, DAY = 86400, MAX_DAYS = 366, DIGITS_MAX = 8 };

static int64_t unit_of(char letter)
{
    switch (letter) {
    case 'm':
        return MINUTE;
    case 'h':
        return HOUR;
    case 'd':
        return DAY;
    default:
        return 0;
    }
}

bool duration_parse(const char *text, int64_t *seconds)
{
    char digits[DIGITS_MAX + 1] = "";
    size_t n = strlen(text);
    int64_t number;

    if (strcmp(text, "none") == 0) {
        *seconds = 0;
        return true;
    }
    int64_t unit = n > 0 ? unit_of(text[n - 1]) : 0;
    if (n < 2 || n > DIGITS_MAX + 1 || unit == 0)
        return false;
    memcpy(digits, text, n - 1);
    if (!parse_int64(digits, 1, MAX_DAYS * (int64_t)DAY / unit, &number))
        return false;
    *seconds = number * unit;
    return true;
}
