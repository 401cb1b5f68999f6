#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/line_queue.h"
#include "common/monitor.h"
#include "common/strbuf.h"
#include "common/visible_text.h"

/* An error's 1.5 KiB, escaped, and some fields; where that is too much, each value gets a part. */
enum { LINE_MAX_BYTES = 8192, CUT_VALUE_BYTES = 500 };

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static const char *const priorities[] = { "<7>", "<6>", "<4>", "<3>" }; /* of syslog */
static enum log_level least = LOG_LEVEL_INFO;
static enum log_format format = LOG_FORMAT_JSON;
static bool with_priority;

enum writer_state { WRITER_NONE, WRITER_RUNNING, WRITER_ABANDONED };

static struct {
    pthread_t thread;
    struct monitor monitor; /* of what follows; nothing is written within */
    struct line_queue queue;
    enum writer_state state;
    bool stop, idle;
    bool failing;       /* the last write failed: the next line reports what is missing */
    int64_t unreported; /* lines dropped since that was last logged */
} writer = { .monitor = MONITOR_INIT };

static atomic_llong dropped;

/* JOURNAL_STREAM is "device:inode" of the stream that systemd connected. */
bool log_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM"); /* NOLINT(concurrency-mt-unsafe): no thread */
    char ours[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) != 0)
        return false;
    (void)snprintf(ours, sizeof ours, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, ours) == 0;
}

void log_init(enum log_level level, enum log_format how)
{
    least = level;
    format = how;
    with_priority = log_is_journal();
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

/* ---- a line ---- */

struct line {
    struct strbuf text;
    size_t value_max; /* bytes of a value */
    bool truncated;
};

static void add_value(struct line *line, const struct log_field *field)
{
    if (!field->str) {
        strbuf_addf(&line->text, "%" PRId64, field->num);
        return;
    }
    strbuf_add(&line->text, "\"", 1);
    if (!visible_text_add(&line->text, VISIBLE_JSON, field->str, strlen(field->str),
                          line->value_max))
        line->truncated = true;
    strbuf_add(&line->text, "\"", 1);
}

static void add_json(struct line *line, const char *now, enum log_level level, const char *event,
                     const struct log_field *fields)
{
    strbuf_addf(&line->text, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", now,
                level_names[level], event);
    for (; fields->name; fields++) {
        strbuf_addf(&line->text, ",\"%s\":", fields->name);
        add_value(line, fields);
    }
    strbuf_add_str(&line->text, line->truncated ? ",\"truncated\":1}\n" : "}\n");
}

/* "2026-11-24T08:00:47Z info  run_taken run=5" */
static void add_text(struct line *line, const char *now, enum log_level level, const char *event,
                     const struct log_field *fields)
{
    strbuf_addf(&line->text, "%.19sZ %-5s %s", now, level_names[level], event);
    for (; fields->name; fields++) {
        strbuf_addf(&line->text, " %s=", fields->name);
        add_value(line, fields);
    }
    strbuf_add_str(&line->text, line->truncated ? " truncated=1\n" : "\n");
}

static bool make_line(struct line *line, enum log_level level, const char *event,
                      const struct log_field *fields)
{
    char now[CLOCK_TEXT_BYTES];

    clock_format_us(clock_utc_us(), now);
    if (with_priority)
        strbuf_add_str(&line->text, priorities[level]);
    if (format == LOG_FORMAT_JSON)
        add_json(line, now, level, event, fields);
    else
        add_text(line, now, level, event, fields);
    return strbuf_ok(&line->text);
}

/* ---- writing it ---- */

static void count_dropped(void)
{
    dropped++;
    writer.unreported++;
}

/* All of it, however long stderr makes it wait. *left: how much was not written. */
static bool write_all(const char *line, size_t n, size_t *left)
{
    for (*left = n; n > 0; *left = n) {
        ssize_t written = write(STDERR_FILENO, line, n);
        if (written >= 0) {
            line += written;
            n -= (size_t)written;
        } else if (errno == EAGAIN) { /* another process that shares it set O_NONBLOCK */
            struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };
            (void)poll(&fd, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

/* What follows a line that a full disk cut off must not become part of it. */
static bool write_line(const char *line, size_t n)
{
    static atomic_bool torn;
    size_t left;

    if (torn && !write_all("\n", 1, &left))
        return false;
    torn = false;
    bool ok = write_all(line, n, &left);
    torn = !ok && left < n;
    return ok;
}

/* Within the monitor: the line that says how many are missing, where there is room for it. */
static void report_dropped(void)
{
    struct line line = { .text = STRBUF_INIT(LINE_MAX_BYTES), .value_max = CUT_VALUE_BYTES };
    const struct log_field fields[] = { LOG_INT("lines", writer.unreported), { 0 } };

    if (writer.unreported > 0 && make_line(&line, LOG_LEVEL_WARN, "log_lines_dropped", fields) &&
        line_queue_put(&writer.queue, line.text.data, line.text.len, 0))
        writer.unreported = 0;
    strbuf_release(&line.text);
}

/* Within the monitor. What was dropped was between the queue's last line and this one. */
static void enqueue(enum log_level level, const struct strbuf *line)
{
    size_t spare = level < LOG_LEVEL_WARN ? LOG_QUEUE_RESERVED_BYTES : 0;

    if (writer.unreported > 0 && writer.queue.used < writer.queue.cap / 2)
        report_dropped();
    if (writer.state == WRITER_ABANDONED ||
        !line_queue_put(&writer.queue, line->data, line->len, spare))
        count_dropped();
    else
        monitor_notify(&writer.monitor);
}

/* 0: there is none, and the writer is to stop. */
static size_t next_line(char *line, size_t size)
{
    size_t n;

    monitor_enter(&writer.monitor);
    if (writer.queue.used == 0 && !writer.failing)
        report_dropped();
    while ((n = line_queue_get(&writer.queue, line, size)) == 0 && !writer.stop) {
        writer.idle = true;
        monitor_notify(&writer.monitor);
        monitor_wait(&writer.monitor);
        writer.idle = false;
    }
    monitor_leave(&writer.monitor);
    return n;
}

static void note_written(bool written)
{
    monitor_enter(&writer.monitor);
    writer.failing = !written;
    if (!written)
        count_dropped();
    monitor_leave(&writer.monitor);
}

static void *keep_writing(void *unused)
{
    char line[LINE_MAX_BYTES];
    size_t n;

    (void)unused;
    while ((n = next_line(line, sizeof line)) > 0)
        note_written(write_line(line, n));
    return NULL;
}

/* What does not fit is cut. False: out of memory. */
static bool compose(struct line *line, enum log_level level, const char *event,
                    const struct log_field *fields)
{
    *line = (struct line){ .text = STRBUF_INIT(LINE_MAX_BYTES), .value_max = LINE_MAX_BYTES };
    if (make_line(line, level, event, fields))
        return true;
    strbuf_release(&line->text);
    *line = (struct line){ .text = STRBUF_INIT(LINE_MAX_BYTES), .value_max = CUT_VALUE_BYTES };
    return make_line(line, level, event, fields);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    struct line line;

    if (level < least)
        return;
    bool composed = compose(&line, level, event, fields);

    monitor_enter(&writer.monitor);
    bool direct = composed && writer.state == WRITER_NONE;
    if (!composed)
        count_dropped();
    else if (!direct)
        enqueue(level, &line.text);
    monitor_leave(&writer.monitor);
    if (direct)
        (void)write_line(line.text.data, line.text.len);
    strbuf_release(&line.text);
}

/* ---- beginning and end ---- */

bool log_start_writer(struct error *err)
{
    if (!line_queue_init(&writer.queue, LOG_QUEUE_BYTES))
        return error_no_memory(err);
    writer.stop = writer.idle = false;
    int failed = pthread_create(&writer.thread, NULL, keep_writing, NULL);
    if (failed) {
        line_queue_release(&writer.queue);
        return error_set(err, ERROR_FATAL, "no thread for the log (error %d)", failed);
    }
    writer.state = WRITER_RUNNING;
    return true;
}

/* Within the monitor. True: everything was written. */
static bool wait_until_written(int64_t wait_ms)
{
    int64_t until_ms = clock_ms() + wait_ms;
    bool written;

    while (!(written = writer.idle && writer.queue.used == 0) &&
           monitor_wait_until(&writer.monitor, until_ms))
        ;
    return written;
}

void log_stop_writer(int64_t wait_ms)
{
    monitor_enter(&writer.monitor);
    if (writer.state != WRITER_RUNNING) {
        monitor_leave(&writer.monitor);
        return;
    }
    bool written = wait_until_written(wait_ms);
    writer.state = written ? WRITER_NONE : WRITER_ABANDONED;
    writer.stop = true;
    monitor_notify(&writer.monitor);
    monitor_leave(&writer.monitor);
    if (!written) {
        (void)pthread_detach(writer.thread); /* it hangs in write(), and goes with the process */
        return;
    }
    (void)pthread_join(writer.thread, NULL);
    line_queue_release(&writer.queue);
}

int64_t log_dropped_lines(void)
{
    return dropped;
}
