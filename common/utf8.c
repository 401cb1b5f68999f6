#include "common/utf8.h"

#include <stdbool.h>

/* How many bytes a sequence has that begins with this one; 0: none begins so. */
static size_t sequence_bytes(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first < 0xe0)
        return 2;
    if (first >= 0xe0 && first < 0xf0)
        return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

static bool is_code_point(uint32_t code, size_t n)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

    return code >= least[n] && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
}

size_t utf8_decode(const char *text, size_t n, uint32_t *code)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = sequence_bytes(bytes[0]);

    if (length == 0 || length > n)
        return 0;
    uint32_t decoded = length == 1 ? bytes[0] : bytes[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        decoded = decoded << 6 | (bytes[i] & 0x3fU);
    }
    if (!is_code_point(decoded, length))
        return 0;
    if (code)
        *code = decoded;
    return length;
}

size_t utf8_encode(uint32_t code, char *out)
{
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char first[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(first[n] | code);
    return n;
}

long utf8_count(const char *text, size_t n)
{
    long count = 0;

    for (size_t at = 0; at < n; count++) {
        size_t length = utf8_decode(text + at, n - at, NULL);
        if (length == 0)
            return -1;
        at += length;
    }
    return count;
}

size_t utf8_cut(const char *text, size_t n)
{
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}
