#include "tests/simulator/document.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "tests/simulator/identity.h"

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

void document_add_string(struct strbuf *out, const char *text)
{
    if (!text) {
        strbuf_add_str(out, "null");
        return;
    }
    strbuf_add_str(out, "\"");
    for (const char *from = text; *from;) {
        size_t n = 0;

        while (is_plain((unsigned char)from[n]))
            n++;
        strbuf_add(out, from, n);
        from += n;
        if (*from)
            strbuf_addf(out, "\\u%04x", (unsigned)(unsigned char)*from++);
    }
    strbuf_add_str(out, "\"");
}

void document_add_time(struct strbuf *out, int64_t utc_us, int stamps)
{
    time_t seconds = (time_t)(utc_us / 1000000);
    bool whole = stamps == STAMPS_WHOLE || (stamps == STAMPS_MIXED && (identity_random() & 1));
    char text[32];
    struct tm parts;

    (void)gmtime_r(&seconds, &parts);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    strbuf_addf(out, "\"%s", text);
    if (!whole)
        strbuf_addf(out, ".%06" PRId64, utc_us % 1000000);
    strbuf_add_str(out, "+00:00\"");
}

void document_add_pointer(struct strbuf *out, const struct problem *problem,
                          const char *row_pointer)
{
    CLEANUP(strbuf_release) struct strbuf pointer = STRBUF_INIT(1024);

    if (problem->row != PROBLEM_NO_ROW) {
        strbuf_addf(&pointer, "%s", row_pointer);
        if (row_pointer[strlen(row_pointer) - 1] == '/')
            strbuf_addf(&pointer, "%" PRId64, problem->row);
        if (problem->pointer[0])
            strbuf_add_str(&pointer, "/");
    }
    strbuf_add_str(&pointer, problem->pointer);
    document_add_string(out, pointer.data);
}

static bool is_wanted(const char *wanted, const char *name)
{
    size_t n = strlen(name);

    if (!wanted)
        return true;
    for (const char *at = wanted;; at++) {
        size_t part = strcspn(at, ",");

        if (part == n && strncmp(at, name, n) == 0)
            return true;
        at += part;
        if (!*at)
            return false;
    }
}

bool fieldset_member(struct fieldset *set, const char *name)
{
    if (!is_wanted(set->wanted, name))
        return false;
    strbuf_addf(set->out, "%s\"%s\":", set->any ? "," : "", name);
    set->any = true;
    return true;
}
