#include "worker/klaviyo/retry_after.h"

#include <string.h>
#include <time.h>

#include "common/parse.h"

enum { RETRY_AFTER_MAX_MS = 24 * 3600 * 1000 };

/* One of the three forms of an HTTP date (RFC 9110, 5.6.7). */
static bool parse_http_date(const char *text, time_t *out)
{
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                         "%a %b %d %H:%M:%S %Y" };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm tm = { 0 };
        const char *rest = strptime(text, forms[i], &tm);

        if (rest && !*rest) {
            *out = timegm(&tm);
            return true;
        }
    }
    return false;
}

/* Seconds; more than fit into a number count as very many. */
static bool parse_seconds(const char *text, int64_t *out)
{
    if (!*text || text[strspn(text, "0123456789")])
        return false;
    if (!parse_int64(text, 0, INT64_MAX, out))
        *out = INT64_MAX;
    return true;
}

bool retry_after_parse(const char *text, int64_t now_us, int64_t *out_ms)
{
    int64_t seconds;
    time_t date;

    if (!parse_seconds(text, &seconds)) {
        if (!parse_http_date(text, &date))
            return false;
        seconds = (int64_t)date - now_us / 1000000 + 1; /* + 1: the date's own second is whole */
    }
    if (seconds < 0)
        seconds = 0;
    *out_ms = seconds > RETRY_AFTER_MAX_MS / 1000 ? RETRY_AFTER_MAX_MS : seconds * 1000;
    return true;
}
