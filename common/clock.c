#include "common/clock.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec now;

    int failed = clock_gettime(id, &now);
    assert(!failed);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_ms(void)
{
    return read_us(CLOCK_BOOTTIME) / 1000;
}

int64_t clock_utc_us(void)
{
    return read_us(CLOCK_REALTIME);
}

static const int64_t year_10000_ms = INT64_C(253402300800000);

void clock_format_us(int64_t utc_us, char *text)
{
    int64_t us = utc_us % 1000000;
    struct tm tm = { 0 };

    if (us < 0) /* before 1970 the second began below */
        us += 1000000;
    time_t seconds = (time_t)(utc_us / 1000000 - (utc_us % 1000000 < 0));
    (void)gmtime_r(&seconds, &tm);
    /* strftime() writes the year 50 as "50", which PostgreSQL takes for 2050. */
    char whole[80]; /* a year beyond 9999 would be longer: it is cut */
    (void)snprintf(whole, sizeof whole, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)us);
    (void)snprintf(text, CLOCK_TEXT_BYTES, "%.*s", CLOCK_TEXT_BYTES - 1, whole);
}

bool clock_format_ms(int64_t utc_ms, char *text)
{
    if (utc_ms < 0 || utc_ms >= year_10000_ms)
        return false;
    clock_format_us(utc_ms * 1000, text);
    return true;
}
