#include "tests/simulator/address.h"

#include <string.h>

enum { LOCAL_MAX = 64, ADDRESS_MAX = 254, LABEL_MAX = 63 };

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_letter_or_digit(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9');
}

void address_normalise(const char *text, size_t n, struct strbuf *out)
{
    while (n > 0 && is_space(text[0])) {
        text++;
        n--;
    }
    while (n > 0 && is_space(text[n - 1]))
        n--;

    size_t from = out->len;
    strbuf_add(out, text, n);
    if (!strbuf_ok(out))
        return;
    for (size_t i = from; i < out->len; i++)
        if (out->data[i] >= 'A' && out->data[i] <= 'Z')
            out->data[i] = (char)(out->data[i] | 0x20);
}

static bool is_local_valid(const char *text, size_t n)
{
    if (n == 0 || n > LOCAL_MAX || text[0] == '.' || text[n - 1] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        bool atom =
            is_letter_or_digit(text[i]) || (text[i] && strchr("!#$%&'*+-/=?^_`{|}~", text[i]));

        if (!atom && (text[i] != '.' || text[i - 1] == '.'))
            return false;
    }
    return true;
}

static bool is_label_valid(const char *text, size_t n)
{
    if (n == 0 || n > LABEL_MAX || text[0] == '-' || text[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_letter_or_digit(text[i]) && text[i] != '-')
            return false;
    return true;
}

static bool is_top_label_valid(const char *text, size_t n)
{
    bool letters = n >= 2 && is_letter(text[0]) && is_letter(text[1]);

    return letters && is_label_valid(text, n);
}

static bool is_domain_valid(const char *text, size_t n)
{
    size_t from = 0;

    for (size_t i = 0; i < n; i++) {
        if (text[i] != '.')
            continue;
        if (!is_label_valid(text + from, i - from))
            return false;
        from = i + 1;
    }
    return from > 0 && is_top_label_valid(text + from, n - from);
}

bool address_is_valid(const char *text, size_t n)
{
    const char *at = n > 0 && n <= ADDRESS_MAX ? memchr(text, '@', n) : NULL;

    if (!at)
        return false;
    size_t local = (size_t)(at - text);
    return is_local_valid(text, local) && is_domain_valid(at + 1, n - local - 1);
}
