#include "common/huge_numbers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum {
    INTEGER_CHARACTERS = 20, /* of the longest that 64 bits hold, with its sign */
    REAL_CHARACTERS = 1100,  /* a double never needs more: longer ones count as huge */
};

static bool is_number_character(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

static bool is_huge_integer(const char *number, size_t n)
{
    errno = 0;
    (void)strtoll(number, NULL, 10);
    return n > INTEGER_CHARACTERS || errno == ERANGE;
}

static bool is_huge_real(const char *number, size_t n)
{
    return n >= REAL_CHARACTERS || isinf(strtod(number, NULL));
}

static bool is_huge(struct bytes number)
{
    char text[REAL_CHARACTERS + 1];
    size_t n = number.n < sizeof text ? number.n : sizeof text - 1;

    memcpy(text, number.at, n);
    text[n] = '\0';
    return strpbrk(text, ".eE") ? is_huge_real(text, n) : is_huge_integer(text, n);
}

/* The characters of the number that begins here; 0: none does. */
static size_t number_length(const char *at, const char *end)
{
    const char *last = at;

    if (*at != '-' && (*at < '0' || *at > '9'))
        return 0;
    while (last < end && is_number_character(*last))
        last++;
    return (size_t)(last - at);
}

/* With its quotation marks; what has no end goes to the end of the text. */
static size_t string_length(const char *at, const char *end)
{
    const char *last = at + 1;

    while (last < end && *last != '"')
        last += *last == '\\' && end - last > 1 ? 2 : 1;
    return (size_t)(last - at) + (last < end);
}

void quote_huge_numbers(struct bytes json, struct strbuf *out)
{
    const char *at = json.at, *copied = json.at, *end = json.at + json.n;

    while (at < end) {
        size_t n = number_length(at, end);

        if (n > 0 && is_huge((struct bytes){ at, n })) {
            strbuf_add(out, copied, (size_t)(at - copied));
            strbuf_addf(out, "\"%.*s\"", (int)n, at);
            copied = at + n;
        }
        if (n == 0)
            n = *at == '"' ? string_length(at, end) : 1;
        at += n;
    }
    strbuf_add(out, copied, (size_t)(end - copied));
}
