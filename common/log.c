#include "common/log.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/strbuf.h"

enum { LINE_MAX_BYTES = 8192 }; /* an error's 1.5 KiB, escaped, and some fields */

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static enum log_level least = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_JSON;

void log_init(enum log_level level, enum log_format how)
{
    least = level;
    format = how;
}

bool log_level_parse(const char *text, enum log_level *out)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    return false;
}

/* The text as a JSON string; control characters as \u00XX, so that a line stays a line. */
static void add_quoted(struct strbuf *line, const char *text)
{
    strbuf_add(line, "\"", 1);
    for (const char *at = text; *at; at++) {
        if (*at == '"' || *at == '\\')
            strbuf_addf(line, "\\%c", *at);
        else if ((unsigned char)*at < 0x20 || *at == 0x7f)
            strbuf_addf(line, "\\u%04x", (unsigned)*at);
        else
            strbuf_add(line, at, 1);
    }
    strbuf_add(line, "\"", 1);
}

static void add_value(struct strbuf *line, const struct log_field *field)
{
    if (field->str)
        add_quoted(line, field->str);
    else
        strbuf_addf(line, "%" PRId64, field->num);
}

static void add_json(struct strbuf *line, const char *now, enum log_level level, const char *event,
                     const struct log_field *fields)
{
    strbuf_addf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", now, level_names[level],
                event);
    for (; fields->name; fields++) {
        strbuf_addf(line, ",\"%s\":", fields->name);
        add_value(line, fields);
    }
    strbuf_add_str(line, "}\n");
}

static void add_text(struct strbuf *line, const char *now, enum log_level level, const char *event,
                     const struct log_field *fields)
{
    strbuf_addf(line, "%.8s %-5s %s", now + sizeof "2026-11-24T" - 1, level_names[level], event);
    for (; fields->name; fields++) {
        strbuf_addf(line, " %s=", fields->name);
        add_value(line, fields);
    }
    strbuf_add_str(line, "\n");
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    CLEANUP(strbuf_release) struct strbuf line = STRBUF_INIT(LINE_MAX_BYTES);
    char now[CLOCK_TEXT_BYTES];

    if (level < least)
        return;

    clock_format_us(clock_utc_us(), now);
    if (format == LOG_FORMAT_JSON)
        add_json(&line, now, level, event, fields);
    else
        add_text(&line, now, level, event, fields);

    /* A log that cannot be written is no reason to stop the work. */
    if (strbuf_ok(&line) && write(STDERR_FILENO, line.data, line.len) < 0)
        return;
}
