#include "worker/http/html.h"

#include <inttypes.h>
#include <string.h>

#include "common/age.h"
#include "common/visible_text.h"

enum {
    TEXT_MAX_BYTES = 4096, /* a name has 200 characters, a detail 1 KiB */
    AGE_MAX_BYTES = 64,
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

void html_add_time(struct strbuf *out, const char *time, int64_t now_us)
{
    CLEANUP(strbuf_release) struct strbuf age = STRBUF_INIT(AGE_MAX_BYTES);

    if (age_add(&age, time, now_us))
        strbuf_addf(out, "<time datetime=\"%.19sZ\" title=\"%.10s %.8s UTC\">%s</time>", time, time,
                    time + 11, age.data);
    else
        strbuf_add_str(out, "–");
}
