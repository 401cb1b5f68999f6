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

void clock_format_us(int64_t utc_us, char *text)
{
    time_t seconds = (time_t)(utc_us / 1000000);
    struct tm tm;

    (void)gmtime_r(&seconds, &tm);
    size_t n = strftime(text, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + n, CLOCK_TEXT_BYTES - n, ".%06ldZ", (long)(utc_us % 1000000));
}
