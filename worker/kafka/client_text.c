#include "worker/kafka/client_text.h"

#include <string.h>

#include "common/parse.h"

enum { DIGITS_MAX = 24 };

bool client_text_is_steady(const char *statistics)
{
    static const char key[] = "\"join_state\":";
    const char *at = NULL;

    for (const char *next = strstr(statistics, key); next; next = strstr(next + 1, key))
        at = next + sizeof key - 1;
    return at && strncmp(at + strspn(at, " \""), "steady", 6) == 0;
}

/* The number that text begins with. False: none, or a larger one than max. */
static bool read_number(const char *text, int64_t max, int64_t *number)
{
    char digits[DIGITS_MAX];
    size_t n = strspn(text, "0123456789");

    if (n == 0 || n >= sizeof digits)
        return false;
    memcpy(digits, text, n);
    digits[n] = '\0';
    return parse_int64(digits, 0, max, number);
}

bool client_text_reset(const char *line, struct client_reset *reset)
{
    static const char words[] = "]: offset reset (at offset ";
    const char *at = strstr(line, words), *bracket = at;
    int64_t partition, offset;

    if (!at || !read_number(at + sizeof words - 1, INT64_MAX, &offset))
        return false;
    while (bracket > line && *bracket != '[')
        bracket--;
    if (*bracket != '[' || !read_number(bracket + 1, INT32_MAX, &partition))
        return false;
    *reset = (struct client_reset){ .partition = (int32_t)partition, .offset = offset };
    return true;
}
