#include "common/visible_text.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

static const uint32_t REPLACEMENT = 0xfffd;

struct range {
    uint32_t first, last;
};

bool code_point_is_unsafe(uint32_t code)
{
    static const struct range unsafe[] = {
        { 0x00, 0x1f },     { 0x7f, 0x9f },     { 0x061c, 0x061c },
        { 0x200e, 0x200f }, { 0x2028, 0x202e }, { 0x2066, 0x2069 },
    };

    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
        if (code >= unsafe[i].first && code <= unsafe[i].last)
            return true;
    return false;
}

/* The code point at the beginning; a byte that is part of none is REPLACEMENT. Its bytes. */
static size_t decode(const char *text, size_t n, uint32_t *code)
{
    size_t length = utf8_decode(text, n, code);

    if (length > 0)
        return length;
    *code = REPLACEMENT;
    return 1;
}

/* How a code point is shown, where that is not as it came; empty: as it came. */
static void show_code_point(char shown[8], enum visible_text_mode mode, uint32_t code)
{
    shown[0] = '\0';
    if (code == '\n' && mode == VISIBLE_LINES)
        return;
    if (code_point_is_unsafe(code))
        (void)snprintf(shown, 8, "\\u%04x", (unsigned)(uint16_t)code); /* all are below 0x10000 */
    else if (mode == VISIBLE_JSON && (code == '"' || code == '\\'))
        (void)snprintf(shown, 8, "\\%c", (char)code);
    else if (code == REPLACEMENT)
        (void)snprintf(shown, 8, "\xef\xbf\xbd");
}

struct piece {
    char shown[8]; /* empty: as it came */
    size_t length; /* of the code point as it came */
    size_t bytes;  /* of it as shown */
};

static struct piece first_piece(enum visible_text_mode mode, const char *text, size_t n)
{
    struct piece piece;
    uint32_t code;

    piece.length = decode(text, n, &code);
    show_code_point(piece.shown, mode, code);
    piece.bytes = *piece.shown ? strlen(piece.shown) : piece.length;
    return piece;
}

bool visible_text_add(struct strbuf *out, enum visible_text_mode mode, const char *text, size_t n,
                      size_t max)
{
    for (size_t at = 0; at < n;) {
        struct piece piece = first_piece(mode, text + at, n - at);

        if (piece.bytes > max)
            return false;
        strbuf_add(out, *piece.shown ? piece.shown : text + at, piece.bytes);
        max -= piece.bytes;
        at += piece.length;
    }
    return true;
}

size_t visible_text_bytes(enum visible_text_mode mode, const char *text, size_t n)
{
    size_t bytes = 0;

    for (size_t at = 0; at < n;) {
        struct piece piece = first_piece(mode, text + at, n - at);

        bytes += piece.bytes;
        at += piece.length;
    }
    return bytes;
}
