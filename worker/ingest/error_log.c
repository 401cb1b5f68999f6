#include "worker/ingest/error_log.h"

#include <stddef.h>
#include <string.h>

enum { ERROR_REPEAT_MS = 60000 };

static struct seen_error *find(struct error_log *log, const char *code)
{
    for (size_t i = 0; i < ERRORS_REMEMBERED; i++)
        if (log->seen[i].code && strcmp(log->seen[i].code, code) == 0)
            return &log->seen[i];
    return NULL;
}

/* An unused place, else the one whose error was logged longest ago. */
static struct seen_error *find_place(struct error_log *log)
{
    struct seen_error *oldest = &log->seen[0];

    for (size_t i = 0; i < ERRORS_REMEMBERED; i++) {
        if (!log->seen[i].code)
            return &log->seen[i];
        if (log->seen[i].ms < oldest->ms)
            oldest = &log->seen[i];
    }
    return oldest;
}

bool error_log_is_news(struct error_log *log, const char *code, int64_t now_ms)
{
    struct seen_error *seen = find(log, code);

    if (seen && now_ms - seen->ms < ERROR_REPEAT_MS)
        return false;
    if (!seen)
        seen = find_place(log);
    *seen = (struct seen_error){ .code = code, .ms = now_ms };
    return true;
}
