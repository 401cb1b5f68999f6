#include "worker/http/html.h"

#include <inttypes.h>
#include <string.h>

#include "common/parse.h"
#include "common/visible_text.h"

enum {
    TEXT_MAX_BYTES = 4096, /* a name has 200 characters, a detail 1 KiB */
    MINUTE = 60,
    HOUR = 60 * MINUTE,
    DAY = 24 * HOUR,
};

static void add_escaped(struct strbuf *out, char c)
{
    switch (c) {
    case '<':
        strbuf_add_str(out, "&lt;");
        break;
    case '>':
        strbuf_add_str(out, "&gt;");
        break;
    case '&':
        strbuf_add_str(out, "&amp;");
        break;
    case '"':
        strbuf_add_str(out, "&quot;");
        break;
    default:
        strbuf_add(out, &c, 1);
    }
}

void html_add_text(struct strbuf *out, const char *text)
{
    CLEANUP(strbuf_release) struct strbuf visible = STRBUF_INIT(TEXT_MAX_BYTES);

    (void)visible_text_add(&visible, VISIBLE_LINE, text, strlen(text), TEXT_MAX_BYTES);
    for (size_t i = 0; i < visible.len; i++)
        add_escaped(out, visible.data[i]);
}

void html_add_argument(struct strbuf *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (; *text; text++)
        if (strchr(plain, *text))
            strbuf_add(out, text, 1);
        else
            strbuf_addf(out, "%%%02X", (unsigned)(unsigned char)*text);
}

void html_add_count(struct strbuf *out, int64_t number)
{
    if (number >= 1000) {
        html_add_count(out, number / 1000);
        strbuf_addf(out, "\u202f%03d", (int)(number % 1000));
    } else {
        strbuf_addf(out, "%" PRId64, number);
    }
}

void html_add_words(struct strbuf *out, const char *code)
{
    for (; *code; code++)
        strbuf_add(out, *code == '_' ? " " : code, 1);
}

/* "2 h 5 min": the second one is left out where it is 0. */
static void add_units(struct strbuf *out, int64_t whole, const char *unit, int64_t rest,
                      const char *rest_unit)
{
    strbuf_addf(out, "%" PRId64 "\u00a0%s", whole, unit);
    if (rest > 0)
        strbuf_addf(out, " %" PRId64 "\u00a0%s", rest, rest_unit);
}

void html_add_duration(struct strbuf *out, int64_t seconds)
{
    if (seconds >= DAY)
        add_units(out, seconds / DAY, "d", seconds % DAY / HOUR, "h");
    else if (seconds >= HOUR)
        add_units(out, seconds / HOUR, "h", seconds % HOUR / MINUTE, "min");
    else if (seconds >= MINUTE)
        add_units(out, seconds / MINUTE, "min", 0, "");
    else
        add_units(out, seconds > 0 ? seconds : 0, "s", 0, "");
}

void html_add_time(struct strbuf *out, const char *time, int64_t now_us)
{
    int64_t at_us = 0;

    if (!parse_rfc3339(time, strlen(time), &at_us)) {
        strbuf_add_str(out, "–");
        return;
    }
    int64_t seconds = (now_us - at_us) / 1000000;
    strbuf_addf(out, "<time datetime=\"%.19sZ\" title=\"%.10s %.8s UTC\">", time, time, time + 11);
    if (seconds < 0)
        strbuf_add_str(out, "in ");
    html_add_duration(out, seconds < 0 ? -seconds : seconds);
    strbuf_add_str(out, seconds < 0 ? "</time>" : " ago</time>");
}
