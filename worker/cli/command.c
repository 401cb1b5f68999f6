#include "worker/cli/command.h"

#include <ctype.h>
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

void print_user(const char *before, const char *text)
{
    (void)fputs(before, stderr);
    for (const char *c = text; *c; c++) {
        (void)fputc(iscntrl((unsigned char)*c) && *c != '\n' ? '?' : *c, stderr);
        if (*c == '\n')
            (void)fputs(before, stderr);
    }
    (void)fputc('\n', stderr);
}

void warn_user(const char *fmt, ...)
{
    char text[1536];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    print_user("klaviyo-worker: warning: ", text);
}
