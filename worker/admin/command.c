#include "worker/admin/command.h"

#include <stdarg.h>
#include <stdio.h>

bool wrong_usage(struct context *context, struct error *err, const char *fmt, ...)
{
    va_list args;

    context->wrong_usage = true;
    err->kind = ERROR_INPUT;
    va_start(args, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return false;
}
