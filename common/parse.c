#include "common/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool parse_int64(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *rest;

    /* strtoll() would skip blanks and accept a plus sign. */
    if (!isdigit((unsigned char)text[0]) && text[0] != '-')
        return false;

    errno = 0;
    long long number = strtoll(text, &rest, 10);
    if (errno || rest == text || *rest || number < min || number > max)
        return false;

    *out = number;
    return true;
}

/* A place in a text of known length. */
struct cursor {
    const char *at;
    const char *end;
};

static bool skip_char(struct cursor *c, const char *any_of)
{
    if (c->at == c->end || !*c->at || !strchr(any_of, *c->at))
        return false;
    c->at++;
    return true;
}

/* Exactly `digits` digits, with a value from min to max. */
static bool read_digits(struct cursor *c, int digits, int min, int max, int *out)
{
    int value = 0;

    for (int i = 0; i < digits; i++, c->at++) {
        if (c->at == c->end || !isdigit((unsigned char)*c->at))
            return false;
        value = value * 10 + (*c->at - '0');
    }
    if (value < min || value > max)
        return false;
    *out = value;
    return true;
}

static bool read_date(struct cursor *c, struct tm *tm)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int year, month, day;

    if (!read_digits(c, 4, 0, 9999, &year) || !skip_char(c, "-") ||
        !read_digits(c, 2, 1, 12, &month) || !skip_char(c, "-") || !read_digits(c, 2, 1, 31, &day))
        return false;

    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > days[month - 1] + (leap && month == 2))
        return false;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    tm->tm_mday = day;
    return true;
}

static bool read_time(struct cursor *c, struct tm *tm)
{
    return read_digits(c, 2, 0, 23, &tm->tm_hour) && skip_char(c, ":") &&
           read_digits(c, 2, 0, 59, &tm->tm_min) && skip_char(c, ":") &&
           read_digits(c, 2, 0, 60, &tm->tm_sec);
}

/* An optional fraction; digits beyond the microsecond are cut. */
static bool read_fraction(struct cursor *c, int64_t *us)
{
    int64_t unit = 100000;

    *us = 0;
    if (!skip_char(c, "."))
        return true;
    if (c->at == c->end || !isdigit((unsigned char)*c->at))
        return false;
    for (; c->at != c->end && isdigit((unsigned char)*c->at); c->at++, unit /= 10)
        *us += (*c->at - '0') * unit;
    return true;
}

/* "Z" or "+hh:mm"; *minutes is what lies between the text's time and UTC. */
static bool read_zone(struct cursor *c, int *minutes)
{
    int hours, rest;

    *minutes = 0;
    if (skip_char(c, "Zz"))
        return true;
    bool west = c->at != c->end && *c->at == '-';
    if (!skip_char(c, "+-") || !read_digits(c, 2, 0, 23, &hours) || !skip_char(c, ":") ||
        !read_digits(c, 2, 0, 59, &rest))
        return false;
    *minutes = (hours * 60 + rest) * (west ? -1 : 1);
    return true;
}

bool parse_rfc3339(const char *text, size_t n, int64_t *out_us)
{
    struct cursor c = { text, text + n };
    struct tm tm = { 0 };
    int64_t us;
    int minutes;

    if (!read_date(&c, &tm) || !skip_char(&c, "Tt ") || !read_time(&c, &tm) ||
        !read_fraction(&c, &us) || !read_zone(&c, &minutes) || c.at != c.end)
        return false;

    *out_us = ((int64_t)timegm(&tm) - (int64_t)minutes * 60) * 1000000 + us;
    return true;
}
