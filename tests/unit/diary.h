#ifndef TESTS_UNIT_DIARY_H
#define TESTS_UNIT_DIARY_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/error.h"

/*
 * What fakes were asked to do, in order: "confirm:7 split:8". Of the one thread of a test.
 * A call whose name is `failing` fails as a run does that is no longer ours.
 */
static struct {
    char text[4096];
    const char *failing;
} diary;

static inline void diary_begin(const char *failing)
{
    diary.text[0] = '\0';
    diary.failing = failing;
}

static inline void diary_note(const char *fmt, ...) PRINTF_LIKE(1, 2);

static inline void diary_note(const char *fmt, ...)
{
    size_t n = strlen(diary.text);
    va_list args;

    if (n > 0)
        n += (size_t)snprintf(diary.text + n, sizeof diary.text - n, " ");
    va_start(args, fmt);
    (void)vsnprintf(diary.text + n, sizeof diary.text - n, fmt, args);
    va_end(args);
}

/* Whether the call of that name succeeds. */
static inline bool diary_goes_well(const char *name, struct error *err)
{
    if (!diary.failing || strcmp(diary.failing, name) != 0)
        return true;
    return error_set(err, ERROR_LOST, "%s failed", name);
}

#endif
