#include "worker/cli/print.h"

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

static void put(FILE *out, enum visible_text_mode mode, const char *text, size_t n)
{
    CLEANUP(strbuf_release) struct strbuf shown = STRBUF_INIT(TEXT_MAX_BYTES);

    (void)visible_text_add(&shown, mode, text, n, TEXT_MAX_BYTES);
    (void)fwrite(shown.data, 1, shown.len, out);
}

void print_line(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0)
        return; /* out of memory: program_main() cannot say more */
    put(stdout, VISIBLE_LINE, text, (size_t)n);
    (void)fputc('\n', stdout);
    free(text);
}

void print_text(const char *text)
{
    put(stdout, VISIBLE_LINES, text, strlen(text));
}

/* jansson hands over whole code points. */
static int put_part(const char *bytes, size_t n, void *unused)
{
    (void)unused;
    put(stdout, VISIBLE_LINES, bytes, n);
    return ferror(stdout) ? -1 : 0;
}

bool print_json(const json_t *root)
{
    return json_dump_callback(root, put_part, NULL, JSON_INDENT(2) | JSON_ENCODE_ANY) == 0 &&
           fputc('\n', stdout) != EOF;
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
    put(stderr, VISIBLE_LINES, text, strlen(text));
    (void)fflush(stderr);
}

void print_status(const char *text)
{
    if (!isatty(STDERR_FILENO))
        return;
    (void)fputs("\r", stderr);
    put(stderr, VISIBLE_LINE, text, strlen(text));
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
    (void)fwrite(line.data, 1, line.len, stderr);
}

/* An API key that was typed as a word must not stand in a terminal's or a job's log, too. */
static void put_problem(const char *before, const char *text, size_t n)
{
    static const char advice[] =
        "an API key is read from a file or standard input, never from the command line: this one "
        "stands in the shell's history and was to be seen by every user of this host, so make "
        "a new one in Klaviyo";
    CLEANUP(strbuf_release) struct strbuf safe = STRBUF_INIT(TEXT_MAX_BYTES);
    bool had_key = key_word_hide(&safe, text, n);

    put_error_line(before, safe.data ? safe.data : "", safe.len);
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
