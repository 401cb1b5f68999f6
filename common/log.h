#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"

/*
 * One event is one line on stderr.
 *
 *     log_info("batch_sent", LOG_INT("rows", n), LOG_STR("job", id));
 *
 * An event has a fixed name and named values; it is not a sentence. Names of
 * events and values are part of the interface: dashboards depend on them.
 * There is no way to log a row or a secret: neither has a LOG_ macro.
 * Lines of different threads never mix: each is one write().
 *
 * Values are cut where a line would be too long; the line then ends with
 * truncated=1. Nothing in a value steers a terminal or ends a line (visible_text.h).
 *
 * log_write() waits for the reader of stderr only until log_start_writer() was
 * called. From then on a thread writes, and log_write() puts lines into a queue
 * of LOG_QUEUE_BYTES. Lines that find no room are counted, and the count is
 * logged (log_lines_dropped) as soon as there is room again.
 */
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

struct log_field {
    const char *name; /* NULL ends the list */
    const char *str;  /* NULL: the value is num */
    int64_t num;
};

/* NULL is logged as an empty string. */
static inline const char *log_text(const char *text)
{
    return text ? text : "";
}

#define LOG_STR(name_, value) ((struct log_field){ .name = (name_), .str = log_text(value) })
#define LOG_INT(name_, value) ((struct log_field){ .name = (name_), .num = (int64_t)(value) })
#define LOG_ERROR_OF(err) LOG_STR("error", (err)->text)

#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)

#define log_at(level, ...) log_at_(level, __VA_ARGS__, { 0 })
#define log_at_(level, event, ...) \
    log_write((level), (event), (const struct log_field[]){ __VA_ARGS__ })

/*
 * 512 KiB are about 2,000 lines: seconds of debug, hours of info. The last
 * 64 KiB are for warnings and errors only. Both chosen.
 */
enum { LOG_QUEUE_BYTES = 512 * 1024, LOG_QUEUE_RESERVED_BYTES = 64 * 1024 };

/*
 * Before the first thread starts. Until then: info, JSON. Where stderr is a
 * stream of the systemd journal, each line begins with its priority, <N>.
 */
void log_init(enum log_level level, enum log_format how);

/* True: stderr is a stream of the systemd journal. */
bool log_is_journal(void);

/* Signals that other threads handle must be blocked by then. */
bool log_start_writer(struct error *err) MUST_USE;

/* Returns when all lines are written or wait_ms have passed; those left are lost. */
void log_stop_writer(int64_t wait_ms);

/* Since the process started. */
int64_t log_dropped_lines(void);

/* "debug", "info", "warn" or "error". False: another text; *out is unchanged. */
bool log_level_parse(const char *text, enum log_level *out);

/*
 * For the macros. Any thread; fields and what they point to are lent for the
 * call. Nothing below the level of log_init() is written. Never fails: what
 * cannot be written is counted or lost.
 */
void log_write(enum log_level level, const char *event, const struct log_field *fields);

#endif
