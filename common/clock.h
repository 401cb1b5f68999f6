#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The clocks of this process. Durations and deadlines use clock_ms(), which
 * advances while the machine sleeps (CLOCK_BOOTTIME), so that a lease is over
 * after a suspend. Times that people read use clock_utc_us().
 */
int64_t clock_ms(void);
int64_t clock_utc_us(void); /* microseconds since 1970-01-01 UTC */

enum { CLOCK_TEXT_BYTES = 28 }; /* "2026-11-24T08:00:47.123456Z" and a NUL */

/* RFC 3339, UTC, microseconds, years 0001 to 9999; text has room for CLOCK_TEXT_BYTES. */
void clock_format_us(int64_t utc_us, char *text);

/* The same of milliseconds that come from outside. False: before 1970 or after 9999. */
bool clock_format_ms(int64_t utc_ms, char *text);

#endif
