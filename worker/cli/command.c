#include "worker/cli/command.h"

#include <stdarg.h>
#include <stdio.h>

#include "worker/cli/print.h"

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

void warn_user(const char *fmt, ...)
{
    char text[1536];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    print_problem("klaviyo-worker: warning: ", text);
}
