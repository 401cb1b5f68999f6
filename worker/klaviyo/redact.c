#include "worker/klaviyo/redact.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define BLANKS " \t\r\n"
#define QUOTES "'\"`"
#define INSTEAD "..."

enum { DIGITS_MAX = 5 }; /* in a row: years and counts, but no telephone number */

/* A letter, a digit or part of a character beyond ASCII. */
static bool is_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* In front of a word, not the apostrophe inside one. */
static bool opens_quote(const char *text, const char *at)
{
    return *at && strchr(QUOTES, *at) && (at == text || !is_word(at[-1]));
}

/* Behind the quote that ends the one at `open`; the end of the text if there is none. */
static const char *behind_quote(const char *open)
{
    for (const char *at = open + 1; *at; at++)
        if (*at == *open && !is_word(at[1]))
            return at + 1;
    return open + strlen(open);
}

static const char *behind_word(const char *text, const char *word)
{
    const char *at = word + 1;

    while (*at && !strchr(BLANKS, *at) && !opens_quote(text, at))
        at++;
    return at;
}

static bool is_private(const char *word, size_t n)
{
    int digits = 0;

    for (size_t i = 0; i < n; i++) {
        digits = isdigit((unsigned char)word[i]) ? digits + 1 : 0;
        if (word[i] == '@' || digits > DIGITS_MAX)
            return true;
    }
    return false;
}

static char *put(char *out, const char *bytes, size_t n)
{
    memcpy(out, bytes, n);
    return out + n;
}

void redact(const char *text, char *out)
{
    const char *end;

    for (const char *at = text; *at; at = end) {
        bool is_quote = opens_quote(text, at);

        if (is_quote)
            end = behind_quote(at);
        else
            end = strchr(BLANKS, *at) ? at + 1 : behind_word(text, at);

        if (is_quote || is_private(at, (size_t)(end - at)))
            out = put(out, INSTEAD, strlen(INSTEAD));
        else
            out = put(out, at, (size_t)(end - at));
    }
    *out = '\0';
}
