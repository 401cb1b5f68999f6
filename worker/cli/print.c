#include "worker/cli/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/strbuf.h"
#include "common/visible_text.h"
#include "worker/cli/key_word.h"

enum { TEXT_MAX_BYTES = 16 * 1024 * 1024 }; /* no limit in practice: lists of names can be long */

static bool has_left_out; /* a part of standard output, for lack of memory */

bool print_has_left_out(void)
{
    return has_left_out;
}

static void leave_out(void)
{
    has_left_out = true;
    errno = ENOMEM;
}

/* False: nothing of it, out of memory. */
static bool put(FILE *out, enum visible_text_mode mode, const char *text, size_t n)
{
    CLEANUP(strbuf_release) struct strbuf shown = STRBUF_INIT(TEXT_MAX_BYTES);

    (void)visible_text_add(&shown, mode, text, n, TEXT_MAX_BYTES);
    if (strbuf_ok(&shown) && shown.len > 0)
        (void)fwrite(shown.data, 1, shown.len, out);
    return strbuf_ok(&shown);
}

static void put_out(enum visible_text_mode mode, const char *text, size_t n)
{
    if (!put(stdout, mode, text, n))
        leave_out();
}

void print_line(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0) {
        leave_out();
        return;
    }
    put_out(VISIBLE_LINE, text, (size_t)n);
    (void)fputc('\n', stdout);
    free(text);
}

void print_text(const char *text)
{
    put_out(VISIBLE_LINES, text, strlen(text));
}

/* jansson hands over whole code points. */
static int put_part(const char *bytes, size_t n, void *unused)
{
    (void)unused;
    put_out(VISIBLE_LINES, bytes, n);
    return has_left_out || ferror(stdout) ? -1 : 0;
}

bool print_json(const json_t *root, struct error *err)
{
    if (json_dump_callback(root, put_part, NULL, JSON_INDENT(2) | JSON_ENCODE_ANY) == 0 &&
        fputc('\n', stdout) != EOF)
        return true;
    if (ferror(stdout))
        return error_errno(err, ERROR_INPUT, "cannot write to standard output");
    leave_out();
    return error_no_memory(err);
}

void print_control(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vfprintf(stdout, fmt, args);
    va_end(args);
}

void print_prompt(const char *text)
{
    (void)put(stderr, VISIBLE_LINES, text, strlen(text));
    (void)fflush(stderr);
}

void print_status(const char *text)
{
    if (!isatty(STDERR_FILENO))
        return;
    (void)fputs("\r", stderr);
    (void)put(stderr, VISIBLE_LINE, text, strlen(text));
    (void)fputs("\033[K", stderr);
    (void)fflush(stderr);
}

static void put_error_line(const char *before, const char *text, size_t n)
{
    CLEANUP(strbuf_release) struct strbuf line = STRBUF_INIT(TEXT_MAX_BYTES);

    strbuf_add_str(&line, log_is_journal() ? "<3>" : "");
    strbuf_add_str(&line, before);
    (void)visible_text_add(&line, VISIBLE_LINE, text, n, TEXT_MAX_BYTES);
    strbuf_add_str(&line, "\n");
    if (strbuf_ok(&line))
        (void)fwrite(line.data, 1, line.len, stderr);
    else
        (void)fprintf(stderr, "%sout of memory\n", before);
}

/* An API key that was typed as a word must not be repeated on a terminal or in a log. */
static void put_problem(const char *before, const char *text, size_t n)
{
    static const char advice[] =
        "an API key is read from a file or standard input, never from the command line: this one "
        "is in the shell's history and was visible to every user of this host, so make "
        "a new one in Klaviyo";
    CLEANUP(strbuf_release) struct strbuf safe = STRBUF_INIT(TEXT_MAX_BYTES);
    bool had_key = key_word_hide(&safe, text, n);

    if (strbuf_ok(&safe))
        put_error_line(before, safe.data ? safe.data : "", safe.len);
    else
        (void)fprintf(stderr, "%sout of memory\n", before);
    if (had_key)
        put_error_line(before, advice, sizeof advice - 1);
}

void print_problem(const char *before, const char *text)
{
    put_problem(before, text, strlen(text));
}

void print_problems(const char *before, const char *text)
{
    for (;;) {
        size_t n = strcspn(text, "\n");
        put_problem(before, text, n);
        if (text[n] == '\0')
            return;
        text += n + 1;
    }
}
