#include "worker/cli/key_word.h"

#include <ctype.h>
#include <string.h>

enum { PREFIX_BYTES = 3, REST_MIN_BYTES = 20 };

/* The length of the key that the text begins with; 0: it begins with none. */
static size_t key_length(const char *text, size_t n)
{
    size_t length = PREFIX_BYTES;

    if (n < PREFIX_BYTES || memcmp(text, "pk_", PREFIX_BYTES) != 0)
        return 0;
    while (length < n && isalnum((unsigned char)text[length]))
        length++;
    return length >= PREFIX_BYTES + REST_MIN_BYTES ? length : 0;
}

bool key_word_in(const char *text)
{
    for (size_t n = strlen(text); n > 0; n--, text++)
        if (key_length(text, n) > 0)
            return true;
    return false;
}

bool key_word_hide(struct strbuf *out, const char *text, size_t n)
{
    bool found = false;

    while (n > 0) {
        size_t key = key_length(text, n), step = key > 0 ? key : 1;

        if (key > 0)
            strbuf_add_str(out, "pk_…");
        else
            strbuf_add(out, text, 1);
        found |= key > 0;
        text += step;
        n -= step;
    }
    return found;
}
