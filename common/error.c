#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
{
    va_list args;

    err->kind = kind;
    va_start(args, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return false;
}

bool error_wrap(struct error *err, const char *fmt, ...)
{
    char context[sizeof err->text];
    char cause[sizeof err->text];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(context, sizeof context, fmt, args);
    va_end(args);

    memcpy(cause, err->text, sizeof cause);
    return error_set(err, err->kind, "%s: %s", context, cause);
}

bool error_no_memory(struct error *err)
{
    return error_set(err, ERROR_RETRY, "out of memory");
}

/* What the machine is short of may be there later, whatever was wanted. */
static bool is_shortage(int number)
{
    return number == ENOMEM || number == EMFILE || number == ENFILE || number == ENOBUFS;
}

bool error_errno(struct error *err, enum error_kind kind, const char *fmt, ...)
{
    char why[128];
    char what[sizeof err->text];
    va_list args;
    int number = errno;
    const char *reason = strerror_r(number, why, sizeof why);

    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return error_set(err, is_shortage(number) ? ERROR_RETRY : kind, "%s: %s", what, reason);
}
