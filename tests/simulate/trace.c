#include "tests/simulate/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/log.h"
#include "tests/simulate/fiber.h"
#include "tests/simulate/process.h"

static bool is_on;
static bool is_broken;
static char broken[512];

void trace_turn_on(bool on)
{
    is_on = on;
}

bool trace_is_on(void)
{
    return is_on;
}

void trace_begin(void)
{
    is_broken = false;
}

const char *trace_broken(void)
{
    return is_broken ? broken : NULL;
}

static void begin_line(void)
{
    const struct process *process = fiber_process();

    (void)printf("%9.3f ", (double)fiber_now_ms() / 1000);
    if (process)
        (void)printf("worker %d  ", process->number);
    else
        (void)printf("world     ");
}

void trace(const char *fmt, ...)
{
    va_list args;

    if (!is_on)
        return;
    begin_line();
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)putchar('\n');
}

void must(bool kept, const char *fmt, ...)
{
    va_list args;

    if (kept)
        return;
    va_start(args, fmt);
    (void)vsnprintf(broken, sizeof broken, fmt, args);
    va_end(args);
    is_broken = true;
    trace("BROKEN: %s", broken);
    fibers_abandon();
}

/* The product's log. */
void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    static const char marks[] = "-iWE";

    if (!is_on)
        return;
    begin_line();
    (void)printf("  %c %s", marks[level], event);
    for (const struct log_field *f = fields; f->name; f++)
        if (f->str)
            (void)printf(" %s=%s", f->name, f->str);
        else
            (void)printf(" %s=%" PRId64, f->name, f->num);
    (void)putchar('\n');
}
